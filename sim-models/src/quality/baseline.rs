//! What single models come to on the same requests, and what mixing them by chance would.

use super::Quality;
use crate::component::ComponentId;
use crate::cost::{CallPrice, CostMeter};
use crate::measure::Measure;
use crate::meter::RequestMeter;

/// The best that single models and mixing them by chance give, over cost: the non-decreasing upper
/// convex hull of (cost, accuracy).
#[derive(Debug, Clone, PartialEq)]
pub struct Hull(Vec<(f64, f64)>);

impl Hull {
    /// The hull of points of (cost, accuracy).
    pub fn new(mut points: Vec<(f64, f64)>) -> Self {
        points.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let mut hull: Vec<(f64, f64)> = Vec::new();
        for point in points {
            if hull.last().is_some_and(|last| point.1 <= last.1) {
                continue;
            }
            // A corner under the line from the one before it to the new point is none.
            while let [.., a, b] = hull.as_slice()
                && (b.1 - a.1) * (point.0 - a.0) <= (point.1 - a.1) * (b.0 - a.0)
            {
                hull.pop();
            }
            hull.push(point);
        }
        Self(hull)
    }

    /// The highest accuracy at that cost; `None` below the cheapest model's.
    pub fn accuracy_at(&self, cost: f64) -> Option<f64> {
        let next = self.0.partition_point(|point| point.0 <= cost);
        let a = self.0.get(next.checked_sub(1)?)?;
        Some(self.0.get(next).map_or(a.1, |b| a.1 + (b.1 - a.1) * (cost - a.0) / (b.0 - a.0)))
    }

    /// The lowest cost of that accuracy; `None` above the best model's.
    pub fn cost_of(&self, accuracy: f64) -> Option<f64> {
        let next = self.0.partition_point(|point| point.1 < accuracy);
        let b = self.0.get(next)?;
        let a = next.checked_sub(1).map(|before| self.0[before]);
        Some(a.map_or(b.0, |a| a.0 + (b.0 - a.0) * (accuracy - a.1) / (b.1 - a.1)))
    }
}

/// A model alone on the requests of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct SingleModel {
    /// Its name.
    pub name: String,
    /// Share of the scored requests that it is right on; `None` where none was scored.
    pub accuracy: Option<f64>,
    /// USD a request if it answered every one; `None` where it is not paid by the call.
    pub usd_per_request: Option<f64>,
}

/// What came of quality in a run.
#[derive(Debug, Clone, PartialEq)]
pub struct QualityOutput {
    /// The models alone, the weakest first.
    pub models: Vec<SingleModel>,
    /// Share of the scored requests on which some model is right.
    pub oracle_accuracy: Option<f64>,
    /// Share of the scored requests that were right.
    pub accuracy: Option<f64>,
    /// What is paid by use within the system, USD a request; `None` where nothing is. What leaves the system (egress)
    /// costs the same whoever answers.
    pub usd_per_request: Option<f64>,
}

impl Quality {
    /// What came of it. `all` are all requests of the run; the components come after so many sources.
    pub(crate) fn output(&self, cost: &CostMeter, all: &RequestMeter, sources: usize) -> QualityOutput {
        let share = |count: u64| (self.scored > 0).then(|| count as f64 / self.scored as f64);
        let answered = all.answered() as f64;
        let tokens = [all.prompt_tokens as f64 / answered, all.output_tokens as f64 / answered];
        // A model that several components serve costs what the first of them takes.
        let price = |model: u8| {
            let priced = |id: &ComponentId| self.model_of(*id) == Some(model);
            cost.call_prices().find(|(id, _)| priced(id)).map(|(_, price): (_, CallPrice)| price)
        };
        let single = |(model, name): (usize, &String)| SingleModel {
            name: name.clone(),
            accuracy: share(self.alone[model]),
            usd_per_request: price(model as u8)
                .map(|price| price.of(tokens[0], tokens[1]))
                .filter(|usd| usd.is_finite()),
        };
        QualityOutput {
            models: self.models.iter().enumerate().map(single).collect(),
            oracle_accuracy: share(self.oracle),
            accuracy: all.accuracy(),
            // What is refused costs nothing, and is not answered by a single model either.
            usd_per_request: (all.answered() > 0
                && cost.usage().iter().any(|line| line.component.index() >= sources))
            .then(|| self.spent / all.answered() as f64),
        }
    }
}

impl QualityOutput {
    /// The model that is right most often, the cheapest of equals.
    pub fn best_single(&self) -> Option<&SingleModel> {
        let cost = |model: &SingleModel| model.usd_per_request.unwrap_or(f64::INFINITY);
        let order = |a: &&SingleModel, b: &&SingleModel| {
            let by_accuracy = a.accuracy.unwrap_or(0.0).total_cmp(&b.accuracy.unwrap_or(0.0));
            by_accuracy.then(cost(b).total_cmp(&cost(a)))
        };
        self.models.iter().filter(|model| model.accuracy.is_some()).max_by(order)
    }

    /// The Zero router; `None` unless every model has a price by the call.
    pub fn zero_router(&self) -> Option<Hull> {
        let points = self.models.iter().map(|model| Some((model.usd_per_request?, model.accuracy?)));
        points.collect::<Option<Vec<_>>>().map(Hull::new)
    }

    /// Beside what was measured: the baselines on the same requests.
    pub fn measures(&self) -> Vec<Measure> {
        let mut list = Vec::new();
        for model in &self.models {
            let alone = "Share right if this model answered every request";
            list.push(Measure::known("single_model_accuracy", model.accuracy, alone).of(&model.name));
            let alone =
                "USD a request if this model answered every one; unknown unless it is paid by the call";
            list.push(
                Measure::known("single_model_usd_per_request", model.usd_per_request, alone).of(&model.name),
            );
        }
        let best = self.best_single();
        let best_of = |value: fn(&SingleModel) -> Option<f64>| best.and_then(value);
        let (best_accuracy, best_usd) =
            (best_of(|model| model.accuracy), best_of(|model| model.usd_per_request));
        let zero = self.zero_router();
        let zero_accuracy =
            zero.as_ref().zip(self.usd_per_request).and_then(|(hull, usd)| hull.accuracy_at(usd));
        let zero_usd = zero.as_ref().zip(self.accuracy).and_then(|(hull, accuracy)| hull.cost_of(accuracy));
        let saving = self.usd_per_request.zip(best_usd).map(|(usd, best)| 1.0 - usd / best);
        let ends =
            self.models.first().and_then(|m| m.accuracy).zip(self.models.last().and_then(|m| m.accuracy));
        let recovered = self.accuracy.zip(ends).map(|(own, (weak, strong))| (own - weak) / (strong - weak));
        list.extend([
            Measure::known(
                "best_single_accuracy",
                best_accuracy,
                "Share right with the best single model alone",
            ),
            Measure::known("best_single_usd_per_request", best_usd, "USD a request with that model alone"),
            Measure::known(
                "saving_over_best_single",
                saving,
                "Share of that model's cost that was saved, of what is paid by use but egress",
            ),
            Measure::known(
                "zero_router_accuracy",
                zero_accuracy,
                "Share right if single models were mixed by chance at the cost of this run",
            ),
            Measure::known(
                "gain_over_zero_router",
                self.accuracy.zip(zero_accuracy).map(|(own, zero)| own - zero),
                "How much more than that was right: what knowing the request was worth",
            ),
            Measure::known(
                "zero_router_usd_per_request",
                zero_usd,
                "USD a request if single models were mixed by chance to the accuracy of this run",
            ),
            Measure::known(
                "performance_gap_recovered",
                recovered,
                "(accuracy - weakest model's) / (strongest model's - weakest model's)",
            ),
            Measure::known("oracle_accuracy", self.oracle_accuracy, "Share that some model is right on"),
        ]);
        list
    }
}
