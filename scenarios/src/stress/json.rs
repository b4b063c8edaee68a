//! A stress test as JSON.

use serde_json::{Value, json};

use super::{Diagnosis, Recovery, StressReport};

fn diagnosis(diagnosis: &Diagnosis) -> Value {
    json!({ "pass": diagnosis.pass, "margin": diagnosis.margin, "text": diagnosis.text })
}

impl StressReport {
    /// Everything as one JSON object.
    pub fn to_json(&self) -> Value {
        let levels = self.levels.iter().map(|level| {
            let pipelines = level.pipelines.iter().map(|load| {
                json!({
                    "name": load.name,
                    "slack": load.slack,
                    "backlog_growth": load.backlog_growth,
                    "pass": load.pass,
                })
            });
            json!({
                "multiple": level.multiple,
                "pass": level.passes(),
                "inference": diagnosis(&level.inference),
                "pipeline": level.pipeline.as_ref().map(diagnosis),
                "pipelines": pipelines.collect::<Vec<_>>(),
                "cost": level.cost.as_ref().map(diagnosis),
                "cost_usd_per_month": level.projection.map(|money| money.usd_per_month),
                "cost_usd_per_1k_good": level.projection.and_then(|money| money.usd_per_1k_good),
                "elasticity": level.projection.and_then(|money| money.elasticity),
                "revenue_margin": level.projection.and_then(|money| money.revenue_margin),
                "provenance": level.result.as_ref().ok().map(|result| json!(result.provenance)),
            })
        });
        let first = self.first.as_ref().map(|first| {
            json!({
                "component": first.component,
                "proven": first.is_proven(),
                "seen_at": first.seen_at,
                "suspects": first.suspects.iter().map(|suspect| json!({
                    "component": suspect.component, "why": suspect.why, "predicted": suspect.predicted,
                })).collect::<Vec<_>>(),
                "proofs": first.proofs.iter().map(|proof| json!({
                    "component": proof.component, "multiple": proof.multiple, "moves": proof.moves,
                })).collect::<Vec<_>>(),
            })
        });
        let recommendations = self.recommendations.iter().map(|tried| {
            json!({
                "name": tried.name,
                "change": tried.change,
                "holds": tried.holds,
                "goodput_per_s": tried.goodput_per_s,
                "gain_per_s": tried.gain_per_s,
                "cost_usd_per_month": tried.usd_per_month,
                "added_usd_per_month": tried.added_usd_per_month,
            })
        });
        let blast = self.blast.iter().flat_map(|(component, ways)| {
            ways.iter().map(move |blast| {
                let (recovered_s, watched_s) = match blast.recovery {
                    Recovery::After(seconds) => (Some(seconds), None),
                    Recovery::NotWithin(seconds) => (None, Some(seconds)),
                };
                json!({
                    "component": component,
                    "failure": blast.failure.name(),
                    "needed": blast.needed,
                    "hit": blast.hit,
                    "hit_without_need": blast.hit_without_need,
                    "recovered_s": recovered_s,
                    "not_recovered_within_s": watched_s,
                    "pass": blast.passes(),
                })
            })
        });
        let fallbacks = self.fallbacks.iter().map(|test| {
            json!({
                "link": test.link,
                "step": test.step,
                "multiple": test.multiple,
                "needed": test.needed,
                "answered": test.answered,
                "good": test.good,
                "good_before": test.good_before,
                "latency_p95_s": test.latency_p95_s,
                "utilization": test.utilization,
                "pass": test.passes,
            })
        });
        json!({
            "levels": levels.collect::<Vec<_>>(),
            "limit": self.limit.map(|limit| json!({ "passes": limit.passes, "fails": limit.fails })),
            "tried": self.tried.iter().map(|tried| json!({
                "multiple": tried.multiple,
                "pass": tried.pass,
                "latency_p50_s": tried.all.mean("latency_p50_s"),
                "latency_p99_s": tried.all.mean("latency_p99_s"),
                "ttft_p95_s": tried.all.mean("ttft_p95_s"),
                "goodput_per_s": tried.all.mean("goodput_per_s"),
            })).collect::<Vec<_>>(),
            "first": first,
            "recommendations": recommendations.collect::<Vec<_>>(),
            "blast": blast.collect::<Vec<_>>(),
            "fallbacks": fallbacks.collect::<Vec<_>>(),
        })
    }
}
