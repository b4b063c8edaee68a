//! What was run for a plan, as a frame and as JSON.

use std::path::{Path, PathBuf};

use polars::prelude::DataFrame;
use serde_json::{Value, json};

use super::{BreakEven, Effect, Evaluated, Found, FrontPoint, Plan};
use crate::results::columns::{Column, Frame, Kind, SUMMARY, column};
use crate::results::table::{Table, cells};
use crate::results::write::{csv, write_frames};
use crate::results::{Format, ResultsError, hex, json};
use crate::sweep::SWEEP;

use Kind::{Count, Flag, Real, Text};

/// A column of `summary`, of all requests.
const fn summary(name: &str) -> Column {
    SUMMARY.column(name)
}

/// A column of a sweep: where a row comes from.
const fn origin(name: &str) -> Column {
    SWEEP.column(name)
}

/// `plan`.
pub const PLAN: Frame = Frame {
    name: "plan",
    row: "A configuration that was run, the cheapest first.",
    columns: &[
        column(
            "point",
            Count,
            "",
            "Number of the configuration, from 0; that of the last axis changes fastest",
        ),
        column("settings", Text, "", "Its values, as `--set` takes them, with blanks between"),
        column("best", Flag, "", "Whether it is the answer: the cheapest that holds"),
        column(
            "holds",
            Flag,
            "",
            "Whether it keeps to the SLO and no queue grows; of a short run, whether that is not out of the question",
        ),
        column("full", Flag, "", "Whether all replications were run in full"),
        column(
            "front",
            Flag,
            "",
            "Whether none that was run in full is better in something and no worse in bill, latency p99, errors and accuracy; null unless the front was asked for, and for short runs",
        ),
        column("why", Text, "", "What is nearest to its limit, or beyond it"),
        summary("cost_usd_per_month"),
        summary("cost_usd_per_1k_good"),
        summary("latency_p99_s"),
        summary("ttft_p95_s"),
        summary("error_rate"),
        summary("slo_attainment"),
        summary("goodput_per_s"),
        summary("accuracy"),
        column("simulated_s", Real, "s", "Simulated time of its replications"),
        origin("fingerprint"),
        column("seed", Count, "", "Seed of all randomness, the same of all configurations"),
        origin("scenario_hash"),
        origin("version"),
    ],
};

impl Plan<'_> {
    /// All that was run, as the frame [`PLAN`].
    pub fn frame(&self, found: &Found, front: &[FrontPoint]) -> DataFrame {
        // The front may have run more.
        let extra = front
            .iter()
            .map(|one| &one.evaluated)
            .filter(|one| !found.evaluated.iter().any(|known| known.point == one.point && known.full));
        let mut rows: Vec<&Evaluated> = found
            .evaluated
            .iter()
            .filter(|one| one.full || !front.iter().any(|known| known.evaluated.point == one.point))
            .chain(extra)
            .collect();
        rows.sort_by(|a, b| a.usd_per_month.total_cmp(&b.usd_per_month));
        let mut table = Table::new(PLAN, rows.len());
        for one in rows {
            let settings = one.sets().join(" ");
            let best = found.best.as_ref().is_some_and(|best| best.point == one.point && one.full);
            let is_front = front.iter().find(|known| one.full && known.evaluated.point == one.point);
            let is_front = is_front.map(|known| known.dominated_by.is_none());
            table.row(&[&cells![
                one.point,
                &settings,
                best,
                one.holds,
                one.full,
                is_front,
                &one.why,
                one.usd_per_month,
                one.usd_per_1k_good,
                one.latency_p99_s,
                one.ttft_p95_s,
                one.error_rate,
                one.slo_attainment,
                one.goodput_per_s,
                one.accuracy,
                one.simulated_s,
                &one.fingerprint,
                self.loaded.scenario.run.seed,
                &one.scenario_hash,
                env!("CARGO_PKG_VERSION"),
            ]]);
        }
        table.finish()
    }

    fn provenance(&self, found: &Found) -> Value {
        let out = found.ruled_out;
        json!({
            "scenario": self.loaded.scenario.name,
            "scenario_hash": hex(self.loaded.hash()),
            "variant": self.loaded.variant,
            "multiplier": self.options.run.scale,
            "seed": self.loaded.scenario.run.seed,
            "version": env!("CARGO_PKG_VERSION"),
            "points": found.points,
            "complete": found.complete,
            "runs": found.runs,
            "simulated_s": found.simulated_s,
            "ruled_out": {
                "unbuildable": out.unbuildable, "budget": out.budget, "law": out.law, "less": out.less,
                "shortage": out.shortage, "quality": out.quality, "dearer": out.dearer,
            },
        })
    }

    /// Where it comes from, by name, for reports.
    pub(crate) fn origin(&self, found: &Found) -> Vec<(String, String)> {
        let row = |name: &str, value: String| (name.to_owned(), value);
        let mut rows = vec![
            row("scenario", self.loaded.scenario.name.clone()),
            row("scenario hash", hex(self.loaded.hash())),
            row("variant", self.loaded.variant.clone()),
            row("load", format!("{}x", self.options.run.scale)),
            row("seed", self.loaded.scenario.run.seed.to_string()),
            row("tenfold version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        if let Some(best) = &found.best {
            rows.push(row("scenario hash of the answer", best.scenario_hash.clone()));
            rows.push(row("fingerprint of the answer", best.fingerprint.clone()));
        }
        rows
    }

    /// Everything as one JSON object.
    pub fn to_json(&self, found: &Found, front: &[FrontPoint], effects: &[Effect]) -> Value {
        let best = found.best.as_ref().map(|best| json!(best.sets()));
        let frames = [(PLAN.name, self.frame(found, front))];
        let mut object = json::object(self.provenance(found), json!([]), &frames);
        object["best"] = json!(best);
        object["fleets"] = json!(found.best.as_ref().map(|best| &best.fleets));
        object["tornado"] = effects.iter().map(effect).collect();
        object
    }

    /// The frame as CSV.
    ///
    /// # Errors
    /// When polars cannot write it.
    pub fn csv(&self, found: &Found, front: &[FrontPoint]) -> Result<String, ResultsError> {
        csv(PLAN.name, self.frame(found, front))
    }

    /// Writes the frame, and `provenance.json` with the steps of a tornado, to a directory. Gives the paths.
    ///
    /// # Errors
    /// The file that could not be written.
    pub fn write(
        &self,
        dir: &Path,
        format: Format,
        found: &Found,
        front: &[FrontPoint],
        effects: &[Effect],
    ) -> Result<Vec<PathBuf>, ResultsError> {
        let mut provenance = self.provenance(found);
        provenance["best"] = json!(found.best.as_ref().map(Evaluated::sets));
        provenance["tornado"] = effects.iter().map(effect).collect();
        write_frames(dir, format, vec![(PLAN.name, self.frame(found, front))], &[], &provenance)
    }
}

fn effect(effect: &Effect) -> Value {
    json!({
        "what": effect.what,
        "from": effect.from,
        "to": effect.to,
        "holds": effect.holds,
        "cost_usd_per_month_change": effect.usd,
        "latency_p99_s_change": effect.latency_p99_s,
        "error_rate_change": effect.error_rate,
    })
}

impl BreakEven {
    /// As one JSON object.
    pub fn to_json(&self) -> Value {
        json!({
            "component": self.component,
            "usd_per_hour": self.usd_per_hour,
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "api_usd_per_call": self.api_usd_per_call,
            "calls_per_day": self.calls_per_day,
            "even_calls_per_day": self.even_calls_per_day,
            "even_output_tokens_per_day": self.even_output_tokens_per_day(),
            "most_calls_per_day": self.most_calls_per_day,
            "even_utilization": self.even_utilization(),
            "usd_per_million_full": self.usd_per_million(1.0),
            "api_usd_per_million": self.api_usd_per_million,
            "pays": self.pays(),
        })
    }
}
