//! Limits a process sets on itself before it touches hostile input: memory, processor time, files.
//!
//! Not a sandbox of its own: the caller starts a child, the child calls [`limit_this_process`] first, and the
//! parent watches the clock.
#![expect(unsafe_code, reason = "resource limits are system calls")]

use std::io;

/// What a process may use from now on. Limits can be lowered again, never raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Address space in bytes; an allocation beyond it fails.
    pub memory_bytes: u64,
    /// Processor time in seconds; beyond it the kernel ends the process.
    pub cpu_s: u64,
    /// Size of any file it writes; 0 forbids writing files (pipes are no files).
    pub file_bytes: u64,
    /// File descriptors; 3 leaves the standard streams and forbids opening files and sockets.
    pub open_files: u64,
}

/// Applies `limits` to the calling process and forbids core dumps.
///
/// # Errors
///
/// The operating system's reason, where a limit could not be set.
pub fn limit_this_process(limits: &ProcessLimits) -> io::Result<()> {
    set(libc::RLIMIT_CORE, 0)?;
    set(libc::RLIMIT_FSIZE, limits.file_bytes)?;
    set(libc::RLIMIT_CPU, limits.cpu_s)?;
    set(libc::RLIMIT_AS, limits.memory_bytes)?;
    set(libc::RLIMIT_NOFILE, limits.open_files)?;
    die_with_parent();
    Ok(())
}

/// Makes a program that is about to be started live within `limits` from its first moment, and end with this process.
#[cfg(unix)]
pub fn limit_child(command: &mut std::process::Command, limits: ProcessLimits) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec only `getrlimit`, `setrlimit` and `prctl` are called, which are allowed there; nothing
    // is allocated, as `io::Error` of a number of the system's is none.
    unsafe {
        command.pre_exec(move || limit_this_process(&limits));
    }
}

/// Lets other threads go first: for work in the background of a program that answers. Threads and children that this
/// thread starts later give way too.
pub fn give_way() {
    /// Of 19: the last in the row still gets on.
    #[cfg(target_os = "linux")]
    const NICENESS: libc::c_int = 10;
    // SAFETY: `setpriority` takes numbers and touches no memory of ours; 0 is the calling thread. Its failure is
    // harmless: the work then goes on as fast as all other.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS as _, 0, NICENESS)
    };
}

/// Whether this process may not let a file grow beyond some size.
pub fn file_size_is_limited() -> bool {
    get(libc::RLIMIT_FSIZE).is_ok_and(|limit| limit.rlim_cur != libc::RLIM_INFINITY)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
type Resource = libc::c_int;

fn get(resource: Resource) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid, exclusively borrowed `rlimit` that the call fills in.
    if unsafe { libc::getrlimit(resource, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit)
}

/// Lowers one limit, soft and hard; a hard limit that is lower already stays.
fn set(resource: Resource, value: u64) -> io::Result<()> {
    let mut limit = get(resource)?;
    let value = libc::rlim_t::try_from(value)
        .unwrap_or(libc::RLIM_INFINITY)
        .min(limit.rlim_max);
    limit.rlim_cur = value;
    limit.rlim_max = value;
    // SAFETY: `limit` is a valid `rlimit`, only read by the call.
    if unsafe { libc::setrlimit(resource, &limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Asks the kernel to end this process when its parent ends, so that a killed parent leaves nothing running.
#[cfg(target_os = "linux")]
fn die_with_parent() {
    // SAFETY: `PR_SET_PDEATHSIG` takes a signal number and touches no memory of ours. Its failure is harmless:
    // the processor limit still ends the process.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent() {}
