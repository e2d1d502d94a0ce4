//! Facts about the host, from `/proc`.

/// Processors, memory and load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Inventory {
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u64,
    pub(crate) memory_used_mib: u64,
    pub(crate) load: f64,
}

/// Reads them now. What cannot be read is zero.
pub(crate) fn read() -> Inventory {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let total = kib(&memory, "MemTotal:") / 1024;
    Inventory {
        cpus: std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32),
        memory_mib: total,
        memory_used_mib: total.saturating_sub(kib(&memory, "MemAvailable:") / 1024),
        load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
    }
}

/// Which start of the kernel this is.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// A value of `/proc/meminfo` in KiB (proc_meminfo(5)).
fn kib(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_kib() {
        let text = "MemTotal:        2035432 kB\nMemFree:          100000 kB\nMemAvailable:    1500000 kB\n";
        assert_eq!(kib(text, "MemTotal:"), 2_035_432);
        assert_eq!(kib(text, "MemAvailable:"), 1_500_000);
        assert_eq!(kib(text, "SwapTotal:"), 0);
    }
}
