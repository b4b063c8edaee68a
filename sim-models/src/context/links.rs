//! What the links of a system leave behind.

use sim_core::time::SimTime;

use super::Core;
use crate::component::ComponentId;
use crate::link::{BreakerOutput, LinkId};
use crate::measure::Measure;

impl Core {
    /// Callers and callees by their numbers, and the links between them.
    fn laid(&self) -> impl Iterator<Item = (usize, usize, LinkId)> {
        let count = self.names.len();
        let links = self.routes.iter().enumerate();
        links.filter_map(move |(place, link)| link.map(|link| (place / count, place % count, link)))
    }

    /// What the policies of links counted, by caller.
    pub(crate) fn link_measures(&mut self, now: SimTime) -> Vec<(ComponentId, Vec<Measure>)> {
        let laid: Vec<_> = self.laid().collect();
        let Self { links, names, .. } = self;
        let measures = laid.into_iter().map(|(caller, callee, link)| {
            let link = &mut links[link.0 as usize];
            (ComponentId(caller as u16), link.measures(&names[callee], |index| names[index].clone(), now))
        });
        measures.collect()
    }

    /// The breakers of all links.
    pub(crate) fn breakers(&self) -> Vec<BreakerOutput> {
        let names = &self.names;
        let own = self.laid().filter_map(|(caller, callee, link)| {
            self.links[link.0 as usize].breakers(&names[caller], &names[callee])
        });
        own.collect()
    }
}
