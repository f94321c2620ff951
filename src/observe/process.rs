//! CPU, memory and files of this process, as the system says them.

use std::fs;

/// Figures of one moment; what the system does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// User and system time of all threads.
    pub cpu_seconds: Option<f64>,
    pub resident_memory_bytes: Option<u64>,
    pub open_fds: Option<u64>,
    /// The soft limit.
    pub max_fds: Option<u64>,
}

impl Process {
    #[must_use]
    pub fn now() -> Self {
        Self {
            cpu_seconds: cpu_seconds(),
            resident_memory_bytes: fs::read_to_string("/proc/self/status").ok().and_then(|s| resident(&s)),
            open_fds: open_fds(),
            max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        }
    }
}

fn cpu_seconds() -> Option<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

/// `VmRSS:  1234 kB` of `/proc/self/status` (proc_pid_status(5)).
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn open_fds() -> Option<u64> {
    // Since Linux 6.2 the directory's size is the count; walking it costs a system call per 1,000 or so.
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t   12 kB\nVmLck:\t 0 kB\n"), Some(12 * 1024));
        assert_eq!(resident("VmRSS:\t99999999999999999999 kB"), None);
        assert_eq!(resident(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_time_and_files() {
        let now = Process::now();
        assert!(now.resident_memory_bytes.is_some_and(|bytes| bytes > 100_000));
        assert!(now.cpu_seconds.is_some_and(|seconds| seconds > 0.0));
        assert!(now.open_fds.is_some_and(|count| count >= 3));
        assert!(now.max_fds.is_none_or(|max| max >= 3));
    }
}
