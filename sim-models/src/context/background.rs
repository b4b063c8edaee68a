//! Work that goes on when the request that asked for it has ended.

use sim_core::time::SimTime;

use super::{Ctx, child_hop};
use crate::call::CallId;
use crate::component::ComponentId;
use crate::request::{Request, RequestId};
use crate::turn::Turn;

impl Ctx<'_> {
    /// Keeps a copy of a call's request for work in the background, which goes on when the request has ended and
    /// its user waits no more. It counts as no request.
    pub fn keep(&mut self, call: CallId) -> RequestId {
        let kept =
            Request { deadline: SimTime::MAX, open_calls: 1, ended: true, ..self.request(call).clone() };
        self.core.kept += 1;
        self.core.requests.insert(kept)
    }

    /// There is nothing more to do for a request that was kept, but for calls that are still under way.
    pub fn release(&mut self, request: RequestId) {
        self.core.kept -= 1;
        self.core.leave_request(request);
    }

    /// Calls `callee` for a request that was kept. `hop` and `tag` key its draws.
    pub fn send_background(&mut self, request: RequestId, hop: u32, callee: ComponentId, tag: u32) -> CallId {
        self.dispatch(request, CallId::NONE, callee, tag, child_hop(hop, tag), Turn::default())
    }
}
