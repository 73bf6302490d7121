//! Replacing tasks whose description has changed, step by step.

use super::{
    State, Supervisor,
    group::Order,
    leaving::Why,
    slot::{Slot, Task},
};
use crate::scheduler::Context;

impl Supervisor {
    /// Carries changes one step further where there is room for it.
    pub(super) fn change(&mut self, context: &mut Context<'_>) {
        let names: Vec<String> = self.groups.keys().cloned().collect();
        for name in names {
            let Some(state) = self.groups.get_mut(&name) else { continue };
            let mut out = Vec::new();
            take_over(state, &mut out);
            step(state, &mut out);
            for (number, task) in out {
                self.leave(context, &name, task, Why::Replaced);
                self.store_slot(context, &name, number);
            }
        }
    }
}

/// Changed tasks that are ready take the place of those beside them.
fn take_over(state: &mut State, out: &mut Vec<(u32, Task)>) {
    let checked = state.group.task.health_check.is_some();
    for (number, slot) in &mut state.slots {
        let ready = slot.next.as_ref().is_some_and(|next| next.ready(checked));
        if ready || slot.current.is_none() {
            let Some(next) = slot.next.take() else { continue };
            slot.wants_next = false;
            if let Some(old) = slot.current.replace(next) {
                out.push((*number, old));
            }
        }
    }
}

/// Picks what is replaced next.
fn step(state: &mut State, out: &mut Vec<(u32, Task)>) {
    let checked = state.group.task.health_check.is_some();
    let version = state.version;
    let old = |slot: &Slot| slot.current.as_ref().is_some_and(|task| task.version != version);
    if !state.slots.values().any(old) {
        return;
    }
    let busy = |slot: &Slot| {
        slot.done.is_none()
            && (slot.wants_next
                || slot.current.as_ref().is_none_or(|task| task.version == version && !task.ready(checked)))
    };
    let at_once = usize::try_from(state.group.change.at_once).unwrap_or(usize::MAX);
    let mut room = at_once.saturating_sub(state.slots.values().filter(|slot| busy(slot)).count());
    let order = state.group.change.order;
    for (number, slot) in &mut state.slots {
        if !old(slot) || slot.wants_next {
            continue;
        }
        // one that does no work is in nobody's way
        let idle = slot.current.as_ref().is_some_and(|task| task.unreachable_since.is_none() && !task.ready(checked));
        if room == 0 && !idle {
            continue;
        }
        room = room.saturating_sub(1);
        slot.setbacks = 0;
        slot.launch_at = std::time::Duration::ZERO;
        slot.avoid = None;
        match order {
            Order::StartFirst => slot.wants_next = true,
            Order::StopFirst => out.extend(slot.current.take().map(|task| (*number, task))),
        }
    }
}
