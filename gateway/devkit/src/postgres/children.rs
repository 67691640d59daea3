//! A server's own children: a PostgreSQL is a process for every connection and some more, and freezing or killing the
//! first one leaves the others going.
//!
//! They are found in `/proc`, by their parent. The parent is stopped before anybody looks and while anybody signals: it
//! cannot reap a child then, so no id found can have become somebody else's.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal};

use crate::process::LOOK_AGAIN;

/// How often is looked whether the parent has stopped.
const LOOKS: usize = 2_000;

/// Waits until process `id`, which was sent SIGSTOP, has stopped.
pub(super) async fn until_stopped(id: Option<u32>) {
    for _ in 0..LOOKS {
        match id.and_then(stat) {
            Some((state, _)) if state != 'T' => tokio::time::sleep(LOOK_AGAIN).await,
            _ => return,
        }
    }
}

/// Sends `signal` to every child of the stopped process `id`; to none if it has not stopped.
pub(super) fn signal(id: Option<u32>, signal: Signal) {
    let Some(id) = id.filter(|id| matches!(stat(*id), Some(('T', _)))) else {
        return;
    };
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return;
    };
    let children = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|child| matches!(stat(*child), Some((_, parent)) if parent == id));
    for child in children {
        let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
        // One that has ended meanwhile needs no signal.
        let _gone = pid.map(|pid| rustix::process::kill_process(pid, signal));
    }
}

/// State and parent of a process (proc(5): after the name, which ends with the last parenthesis).
fn stat(id: u32) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Removes the System V segment that a server which was killed has left, if `data` says that there is one: line 7 of
/// `postmaster.pid`, which a server that ends by itself takes with it.
pub(super) fn forget_shared_memory(data: &Path) {
    let Ok(text) = std::fs::read_to_string(data.join("postmaster.pid")) else {
        return;
    };
    let segment = text
        .lines()
        .nth(6)
        .and_then(|line| line.split_whitespace().nth(1));
    if let Some(segment) = segment {
        let mut command = Command::new("ipcrm");
        command.args(["-m", segment]).stdin(Stdio::null());
        // Without the program 56 bytes stay behind.
        let _removed = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}
