//! The way of a call into an engine.

use sim_core::event::Phase;
use sim_core::random::unit;

use super::{Active, Pool, START, event_data};
use crate::call::{CallId, Reply};
use crate::context::Ctx;
use crate::llm::engine::{KvTransfer, Rejection, Submission};
use crate::slab::Key;

/// What of a call an engine is to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) transfer: KvTransfer,
    /// See [`Active`].
    pub(super) source: Key,
    pub(super) handed_over: bool,
}

impl Part {
    /// The first.
    pub(super) fn new(transfer: KvTransfer) -> Self {
        Self { transfer, source: Key::NONE, handed_over: false }
    }
}

/// Why a call is refused.
#[derive(Debug)]
pub(super) enum Reason {
    QueueFull,
    Engine(Rejection),
}

impl From<Rejection> for Reason {
    fn from(rejection: Rejection) -> Self {
        Self::Engine(rejection)
    }
}

impl Pool {
    /// Sends a call that has passed the API server to a replica, or refuses it.
    pub(super) fn admit(&mut self, call: CallId, ctx: &mut Ctx) {
        let prefill = self.connector.as_mut().and_then(|connector| connector.prefill.as_mut());
        let prompt = ctx.prompt(call).tokens().max(1);
        let (first, front, transfer) = match prefill.filter(|prefill| prompt > prefill.max_local) {
            Some(prefill) => (prefill.first, &mut prefill.front, KvTransfer::RemoteDecode),
            None => (0, &mut self.front, KvTransfer::None),
        };
        let Some(index) = front.route(call, ctx) else { return };
        if let Err(reason) = self.submit(first + index, call, Part::new(transfer), ctx) {
            self.refuse(call, &reason, ctx);
        }
    }

    /// Refuses a call that was routed.
    pub(super) fn refuse(&mut self, call: CallId, reason: &Reason, ctx: &mut Ctx) {
        let rejected = &mut self.measures.rejected;
        *match reason {
            Reason::QueueFull => &mut rejected.queue_full,
            Reason::Engine(Rejection::ExceedsModel { .. }) => &mut rejected.exceeds_model,
            Reason::Engine(Rejection::ExceedsCache { .. } | Rejection::ExceedsReservation { .. }) => {
                &mut rejected.exceeds_cache
            }
            Reason::Engine(Rejection::Zero { .. }) => unreachable!("lengths are at least 1"),
        } += 1;
        self.front_of(call, ctx).reply(call, Reply::REJECTED, ctx);
    }

    /// Hands a call to an engine; the reason if it cannot be served.
    pub(super) fn submit(
        &mut self,
        index: usize,
        call: CallId,
        part: Part,
        ctx: &mut Ctx,
    ) -> Result<(), Reason> {
        let Part { transfer, source, handed_over } = part;
        let replica = &self.replicas[index];
        if self.queue_cap.is_some_and(|cap| replica.engine.waiting() >= cap.get()) {
            return Err(Reason::QueueFull);
        }
        let luck = if self.drawn { unit(&mut ctx.draws(call)).to_bits() } else { 0 };
        let prompt = ctx.prompt(call);
        let request = prompt.request;
        let mut submission = Submission {
            key: call.to_bits(),
            prompt_tokens: prompt.tokens().max(1),
            output_tokens: prompt.output_tokens().max(1),
            priority: i32::from(request.class),
            prefix: prompt.prefix().into_owned(),
            adapter: self.adapters.as_ref().map(|adapters| adapters.of(call, ctx)),
            luck,
        };
        if transfer == KvTransfer::RemoteDecode {
            // Whether a decode worker will take it is known before.
            self.replicas[0].engine.check_length(&submission)?;
            submission.output_tokens = 1;
        }
        let (replica, tally) = (&mut self.replicas[index], &mut self.measures.tallies[index]);
        let sequence = replica.engine.submit_transfer(ctx.now(), &submission, transfer, tally)?;
        let key = self.active.insert(Active { replica: index as u32, sequence, source, handed_over });
        ctx.call_mut(call).scratch = key.to_bits();
        if replica.wake() {
            ctx.schedule(self.wake, Phase::Timer, START, event_data(index, replica.generation));
        }
        self.note(index, ctx);
        Ok(())
    }
}
