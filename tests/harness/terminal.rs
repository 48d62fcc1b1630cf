//! A command at a terminal of its own, whose screen can be read.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{DEADLINE, eventually};

/// A command at a terminal, killed when dropped.
pub struct Terminal {
    child: Child,
    keys: File,
    seen: Arc<Mutex<Seen>>,
    /// What it writes to standard output, where that is no terminal.
    stdout: Option<std::process::ChildStdout>,
}

struct Seen {
    screen: vt100::Parser,
    /// Everything that was ever written.
    bytes: Vec<u8>,
}

impl Terminal {
    /// Starts a command whose three streams are a terminal of so many columns and rows.
    pub fn start(command: &mut Command, columns: u16, rows: u16) -> Self {
        Self::with(command, columns, rows, false)
    }

    /// Starts one whose standard output is read by a program.
    pub fn piped(command: &mut Command) -> Self {
        Self::with(command, 80, 24, true)
    }

    fn with(command: &mut Command, columns: u16, rows: u16, is_piped: bool) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        resize(&master, columns, rows);
        let end = || {
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
            Stdio::from(ioctl_tiocgptpeer(&master, flags).unwrap())
        };
        let stdout = if is_piped { Stdio::piped() } else { end() };
        command.env("LANG", "C.UTF-8");
        if !command.get_envs().any(|(name, _)| name == "TERM") {
            command.env("TERM", "xterm-256color");
        }
        let mut child = command
            .stdin(end())
            .stdout(stdout)
            .stderr(end())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        // The command's copies of the terminal's end: reading ends when the child's are closed.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        let seen = Arc::new(Mutex::new(Seen {
            screen: vt100::Parser::new(some(rows), some(columns), 0),
            bytes: Vec::new(),
        }));
        let mut output = File::from(master.try_clone().unwrap());
        let sink = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                let mut seen = sink.lock().unwrap();
                seen.screen.process(&buffer[..count]);
                seen.bytes.extend_from_slice(&buffer[..count]);
            }
        });
        Self {
            stdout: child.stdout.take(),
            child,
            keys: File::from(master),
            seen,
        }
    }

    /// What stands on the screen.
    pub fn screen(&self) -> String {
        self.seen.lock().unwrap().screen.screen().contents()
    }

    /// Asks something of the screen.
    pub fn look<T>(&self, what: impl FnOnce(&vt100::Screen) -> T) -> T {
        what(self.seen.lock().unwrap().screen.screen())
    }

    /// All that was written, with what drives the terminal.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap().bytes).into_owned()
    }

    /// Waits until the screen shows a text.
    pub async fn shows(&self, text: &str) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !self.screen().contains(text) {
            let late = tokio::time::Instant::now() > deadline;
            assert!(!late, "no `{text}` on the screen:\n{}", self.screen());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Types.
    pub fn keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Gives it another size, and tells it so.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        let mut seen = self.seen.lock().unwrap();
        seen.screen.screen_mut().set_size(some(rows), some(columns));
        resize(
            &OwnedFd::from(self.keys.try_clone().unwrap()),
            columns,
            rows,
        );
        drop(seen);
        // It is no terminal that controls a session, so nobody else tells.
        self.signal(Signal::WINCH);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end; gives the exit code, none if a signal ended it.
    pub async fn exit(&mut self) -> Option<i32> {
        let ended = async || self.ended();
        eventually("an end at the terminal", ended).await.code()
    }

    /// What was written to standard output, once it has ended.
    pub fn stdout(&mut self) -> String {
        let mut text = String::new();
        let mut stdout = self.stdout.take().expect("a pipe");
        stdout.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only where the child has already been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn some(size: u16) -> NonZero<u16> {
    NonZero::new(size).unwrap()
}

fn resize(terminal: &OwnedFd, columns: u16, rows: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}
