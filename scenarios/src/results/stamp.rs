//! Where frames come from, in the files themselves.

use polars::prelude::{Column, DataFrame, PolarsError};
use sim_core::random::stable_hash;

use super::{Provenance, hex};

/// The hash of a result as a whole: over the fingerprints of its replications.
pub(crate) fn whole(fingerprints: &[String]) -> String {
    hex(stable_hash(fingerprints.join(" ").as_bytes()))
}

/// A frame with the columns that say where each row comes from, where it has none: `fingerprint` of the row's
/// replication, or over those of all, `seed`, `scenario_hash` and `version`. A row is of the first result of its
/// variant.
pub(crate) fn stamped(mut frame: DataFrame, sources: &[&Provenance]) -> Result<DataFrame, PolarsError> {
    let Some(first) = sources.first() else { return Ok(frame) };
    let wholes: Vec<String> = sources.iter().map(|source| whole(&source.fingerprints)).collect();
    let (mut fingerprints, mut seeds, mut hashes, mut versions) = (vec![], vec![], vec![], vec![]);
    let height = frame.height();
    {
        let variants = frame.column("variant").ok();
        let replications = frame.column("replication").ok();
        for row in 0..height {
            let variant = variants.map(|column| column.get(row)).transpose()?;
            let named = variant.as_ref().and_then(|value| value.get_str());
            let place = sources.iter().position(|source| Some(source.variant.as_str()) == named).unwrap_or(0);
            let source = sources.get(place).unwrap_or(first);
            let replication = replications.map(|column| column.get(row)).transpose()?;
            let replication = replication.and_then(|value| value.extract::<u64>());
            let own = replication.and_then(|number| {
                let place = source.replications.iter().position(|known| *known == number)?;
                source.fingerprints.get(place)
            });
            fingerprints.push(own.unwrap_or(&wholes[place]).as_str());
            seeds.push(source.seed);
            hashes.push(source.scenario_hash.as_str());
            versions.push(source.version.as_str());
        }
    }
    let columns = [
        Column::new("fingerprint".into(), fingerprints),
        Column::new("seed".into(), seeds),
        Column::new("scenario_hash".into(), hashes),
        Column::new("version".into(), versions),
    ];
    for column in columns {
        if frame.column(column.name()).is_err() {
            frame.with_column(column)?;
        }
    }
    Ok(frame)
}
