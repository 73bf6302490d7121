//! Heartbeats, the end of a stream, and the time that a framework has to come back.

use std::time::Duration;

use mezzo_api::{time::Now, v1::FrameworkInfo};

use crate::{
    core::Core,
    effect::{Effect, Effects},
    events,
    input::StreamId,
    keys::FrameworkKey,
    timers::Timer,
};

/// Slowness never kills tasks: who was cut off by the master has at least this long to come back.
const MIN_FAILOVER_AFTER_CUT: Duration = Duration::from_secs(60);

impl Core {
    pub(crate) fn on_heartbeat(&mut self, now: Now, key: FrameworkKey, stream: StreamId, out: &mut Effects) {
        let Some(framework) = self.frameworks.get_mut(key) else { return };
        if framework.stream != Some(stream) {
            return;
        }
        let timer = Timer::Heartbeat(key, stream);
        framework.heartbeat = Some(self.timers.set(now.mono + self.config.heartbeat_interval, timer));
        out.push(Effect::ToFramework(stream, events::heartbeat()));
    }

    pub(crate) fn on_stream_closed(&mut self, now: Now, stream: StreamId, cut: bool, out: &mut Effects) {
        let Some(key) = self.frameworks.streams.remove(&stream) else { return };
        let Some(framework) = self.frameworks.get_mut(key) else { return };
        framework.stream = None;
        if let Some(timer) = framework.heartbeat.take() {
            self.timers.cancel(timer);
        }
        tracing::info!(framework = %framework.id, cut, "framework disconnected");
        let removing = framework.removing.is_some();
        let timeout = failover_timeout(&framework.info);
        self.dirty.frameworks.insert(key);
        self.allocator.set_framework_active(now.mono, key, false);
        self.discard_offers_of_framework(now, key, out);
        if removing {
            return;
        }
        let timeout = if cut { timeout.max(MIN_FAILOVER_AFTER_CUT) } else { timeout };
        if timeout.is_zero() {
            self.begin_removal(now, key, None, out);
        } else {
            let timer = self.timers.set(now.mono.saturating_add(timeout), Timer::Failover(key));
            if let Some(framework) = self.frameworks.get_mut(key) {
                framework.failover = Some(timer);
            }
        }
    }

    pub(crate) fn on_failover_timeout(&mut self, now: Now, key: FrameworkKey, out: &mut Effects) {
        let Some(framework) = self.frameworks.get_mut(key) else { return };
        framework.failover = None;
        tracing::info!(framework = %framework.id, "framework did not come back within its failover timeout");
        self.begin_removal(now, key, None, out);
    }
}

/// Negative ones are over at once.
pub(crate) fn failover_timeout(info: &FrameworkInfo) -> Duration {
    Duration::try_from_secs_f64(info.failover_timeout().max(0.0)).unwrap_or(Duration::ZERO)
}
