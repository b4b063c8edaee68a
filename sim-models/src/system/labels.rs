//! What classes and tenants are called, and in which order.

use std::sync::Arc;

use super::{SystemConfig, Traces};
use crate::context::Labels;
use crate::error::ConfigError;

/// Names in an order that agrees with that of every list, by first appearance where several do; nothing where lists
/// contradict one another.
fn merged(lists: &[Vec<String>]) -> Option<Vec<String>> {
    let (mut left, mut order): (Vec<&String>, Vec<String>) = (Vec::new(), Vec::new());
    for name in lists.iter().flatten() {
        if !left.contains(&name) {
            left.push(name);
        }
    }
    while !left.is_empty() {
        let is_free = |name: &&String| {
            let free_in = |list: &Vec<String>| {
                let at = list.iter().position(|own| own == *name);
                at.is_none_or(|at| list[..at].iter().all(|before| order.contains(before)))
            };
            lists.iter().all(free_in)
        };
        let next = left.iter().position(is_free)?;
        order.push(left.remove(next).clone());
    }
    Some(order)
}

/// Classes, the most important first as every `priority` table has them, and tenants of all traffic; what else traces
/// name comes behind.
pub(super) fn labels(config: &SystemConfig, traces: &Traces) -> Result<Labels, ConfigError> {
    let said: Vec<Vec<String>> =
        config.traffic.values().map(|traffic| traffic.priority.keys().cloned().collect()).collect();
    let classes = merged(&said).ok_or_else(|| {
        ConfigError::new(["traffic"], "the `priority` tables order the same classes differently")
            .help("expected one order, the most important first, in all of them")
    })?;
    let mut labels = Labels { classes, ..Labels::default() };
    let mut add = |classes: Vec<String>, tenants: Vec<String>| {
        for (names, list) in [(classes, &mut labels.classes), (tenants, &mut labels.tenants)] {
            for name in names {
                if !list.contains(&name) {
                    list.push(name);
                }
            }
        }
    };
    for (name, traffic) in &config.traffic {
        let trace = traces.get(name).map(Arc::as_ref);
        add(traffic.class_names(trace), traffic.tenant_names(trace));
    }
    if labels.classes.len() > usize::from(u8::MAX) || labels.tenants.len() > usize::from(u16::MAX) {
        return Err(ConfigError::new(["traffic"], "more than 255 classes or 65,535 tenants"));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::merged;

    #[test]
    fn orders_are_merged_or_contradict_one_another() {
        let order = |lists: &[&[&str]]| {
            let lists: Vec<Vec<String>> =
                lists.iter().map(|list| list.iter().map(|name| (*name).to_owned()).collect()).collect();
            merged(&lists).map(|order| order.join(" "))
        };
        assert_eq!(order(&[&["bulk"], &["interactive", "bulk"]]).unwrap(), "interactive bulk");
        assert_eq!(order(&[&["a", "c"], &["b"], &["c", "d"]]).unwrap(), "a c b d");
        assert_eq!(order(&[&["a", "b"], &["b", "c"], &["c", "a"]]), None);
    }
}
