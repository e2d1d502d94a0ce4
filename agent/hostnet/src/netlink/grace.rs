//! How the kernel waits while links are removed.

const SWITCH: &str = "/sys/kernel/rcu_expedited";

/// How the kernel waits until no processor can still see a link that is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GracePeriods {
    /// As it does by itself: some 10 ms for a port and again for a bridge.
    #[default]
    Normal,
    /// By interrupting the processors: well under 1 ms (`rcupdate.rcu_expedited` in the kernel's
    /// admin-guide/kernel-parameters). The switch is the host's, for all of its kernel: it is set while several links
    /// are removed, then put back. A crash in between leaves it set, which costs interrupts and nothing else.
    Expedited,
}

/// Holds the host's switch.
pub(super) struct Expedited {
    was_off: bool,
}

impl Expedited {
    /// Sets the switch if that is wanted. A switch that is missing or cannot be set only means slow removals.
    pub(super) fn while_held(grace: GracePeriods) -> Self {
        let is_off = || std::fs::read_to_string(SWITCH).is_ok_and(|value| value.trim() == "0");
        let was_off = grace == GracePeriods::Expedited && is_off() && std::fs::write(SWITCH, "1").is_ok();
        Self { was_off }
    }
}

impl Drop for Expedited {
    fn drop(&mut self) {
        if self.was_off {
            // It could be set, so it can be put back; and if not, nothing here could do more about it.
            let _ = std::fs::write(SWITCH, "0");
        }
    }
}
