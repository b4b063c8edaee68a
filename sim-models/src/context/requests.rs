//! Requests are born, hear their first token and end.

use sim_core::fingerprint::Fingerprint;
use sim_core::scheduler::SimError;
use sim_core::time::SimTime;

use super::{Core, Ctx};
use crate::call::Progress;
use crate::journal::{Birth, RequestRecord};
use crate::request::{Outcome, Request, RequestId};

/// Most requests that are under way at once (assumption: as many as events may be pending; they take some gigabytes).
const MAX_REQUESTS: u64 = 1 << if cfg!(test) { 19 } else { 23 };

impl Ctx<'_> {
    /// No request is born after this.
    pub(crate) fn arrivals_until(&self) -> SimTime {
        self.core.arrivals_until
    }

    /// No birth is planned at this source any more.
    pub(crate) fn close_source(&mut self) {
        self.core.open_sources -= 1;
    }

    /// A request is born.
    pub(crate) fn give_birth(&mut self, request: Request) -> RequestId {
        self.core.born += 1;
        if self.core.requests.len() >= MAX_REQUESTS as usize {
            let at = self.now();
            self.scheduler.fail(SimError::TooManyAtOnce { what: "requests", limit: MAX_REQUESTS, at });
        }
        if request.born >= self.core.measure_from {
            let cell = self.core.cell(&request);
            self.core.request_meters[cell].born += 1;
        }
        self.core.recorder.born += 1;
        if let Some(births) = &mut self.core.births {
            births.push(Birth::new(self.me, &request));
        }
        self.core.requests.insert(request)
    }

    /// The request of a root call has ended.
    pub(crate) fn end_request(&mut self, id: RequestId, outcome: Outcome) {
        let now = self.now();
        let core = &mut *self.core;
        let cell = core.requests.get(id).map(|request| core.cell(request));
        let (Some(cell), Some(request)) = (cell, core.requests.get_mut(id)) else {
            unreachable!("a request ends once");
        };
        request.ended = true;
        core.ended[outcome as usize] += 1;
        core.recorder.end(outcome, now.since(request.born));
        if let Some(timeline) = &mut core.timeline {
            timeline.request(request, (now, Some(outcome)));
        }
        let mut hash = Fingerprint::default();
        let first_token = request.first_token.map_or(u64::MAX, SimTime::as_nanos);
        for word in [request.key, outcome as u64, first_token, now.as_nanos()] {
            hash.word(word);
        }
        // A sum: the order of ends at one instant does not count.
        core.outcome_hash = core.outcome_hash.wrapping_add(hash.value());
        if request.born >= core.measure_from {
            let bounds = &core.bounds[usize::from(request.class)];
            let in_window = now <= core.arrivals_until;
            let good = core.request_meters[cell].end(request, outcome, now, bounds, in_window);
            if let Some(journal) = &mut core.journal {
                journal.push(RequestRecord::new(request, now, outcome, good));
            }
            if let Some(quality) = core.quality.as_mut().filter(|_| outcome.is_answer()) {
                core.request_meters[cell].score(quality.end(request));
            }
        }
        if request.open_calls == 0 {
            core.requests.remove(id);
        }
    }

    /// News of a request has reached its user.
    pub(crate) fn note_progress(&mut self, id: RequestId, progress: Progress) {
        let now = self.now();
        if progress == Progress::FirstToken
            && let Some(request) = self.core.requests.get_mut(id)
        {
            request.first_token.get_or_insert(now);
        }
    }
}

impl Core {
    /// Where a request is counted.
    pub(crate) fn cell(&self, request: &Request) -> usize {
        usize::from(request.class) * self.labels.tenants.len() + usize::from(request.tenant)
    }
}

#[cfg(test)]
mod tests {
    use sim_core::scheduler::SimError;
    use sim_core::time::SimDuration;

    use super::MAX_REQUESTS;
    use crate::system::{RunPlan, SystemConfig, Traces, build, run};

    #[test]
    fn a_system_that_falls_ever_further_behind_is_stopped() {
        let text = "[traffic.web]\nentry = \"db\"\narrivals = { process = \"deterministic\", rate = \"1000000/s\" }\n\
                    [components.db]\nkind = \"service\"\nservice_time = \"1h\"\n";
        let system: SystemConfig = toml::from_str(text).unwrap();
        let plan = RunPlan { duration: SimDuration::from_secs(1), ..RunPlan::default() };
        let error = run(build(&system, &plan, &Traces::new()).unwrap(), &plan).unwrap_err();
        let SimError::TooManyAtOnce { what: "requests", limit: MAX_REQUESTS, at } = error else {
            panic!("{error}")
        };
        assert!((at.as_secs_f64() - MAX_REQUESTS as f64 / 1e6).abs() < 1e-3, "{error}");
    }
}
