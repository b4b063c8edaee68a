//! What a component measures beyond the meter that every component has.

/// One figure, over the measured part of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// Its name; a unit is its ending (`age_mean_s`, `cost_usd`), as in the columns of results.
    pub name: &'static str,
    /// What of the component it is about, such as a replica or a callee; `None` for all of it.
    pub part: Option<String>,
    /// What it says.
    pub meaning: &'static str,
    /// Its value; `None` where nothing was seen that it could be about.
    pub value: Option<f64>,
}

impl Measure {
    /// A figure that is always known.
    pub fn new(name: &'static str, value: f64, meaning: &'static str) -> Self {
        Self::known(name, Some(value), meaning)
    }

    /// A figure that there may be nothing to say about.
    pub fn known(name: &'static str, value: Option<f64>, meaning: &'static str) -> Self {
        Self { name, part: None, meaning, value: value.filter(|value| value.is_finite()) }
    }

    /// How many.
    pub fn count(name: &'static str, count: u64, meaning: &'static str) -> Self {
        Self::new(name, count as f64, meaning)
    }

    /// `part` of `whole`; unknown where there is no whole.
    pub fn share(name: &'static str, part: u64, whole: u64, meaning: &'static str) -> Self {
        Self::known(name, (whole > 0).then(|| part as f64 / whole as f64), meaning)
    }

    /// The same figure, said of a part of the component.
    pub fn of(mut self, part: impl Into<String>) -> Self {
        self.part = Some(part.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_known_is_none() {
        assert_eq!(Measure::share("hit_ratio", 0, 0, "hits by look-ups").value, None);
        assert_eq!(Measure::share("hit_ratio", 1, 4, "hits by look-ups").value, Some(0.25));
        assert_eq!(Measure::new("age_mean_s", f64::NAN, "mean age").value, None);
        assert_eq!(Measure::count("trips", 2, "trips").of("small").part.as_deref(), Some("small"));
    }
}
