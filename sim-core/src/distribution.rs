//! temporary
use crate::time::SimDuration;
use rand::Rng;
/// t
#[derive(Clone)]
pub struct Exponential {
    mean: f64,
}
impl Exponential {
    /// t
    pub fn with_mean(mean: f64) -> Result<Self, ()> {
        Ok(Self { mean })
    }
    /// t
    #[inline]
    pub fn sample_duration<R: Rng>(&self, rng: &mut R) -> SimDuration {
        SimDuration::saturating_from_secs_f64(-self.mean * libm::log(crate::random::unit(rng)))
    }
}
