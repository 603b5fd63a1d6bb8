//! A pseudo terminal, and the tool on it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// Far more than any step needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process on a terminal of its own.
pub(crate) struct Terminal {
    controller: File,
    /// Keeps the terminal alive when the process has ended.
    device: OwnedFd,
    child: Child,
    output: Receiver<Vec<u8>>,
    /// Everything that was written to the terminal.
    seen: Vec<u8>,
    parser: vt100::Parser,
}

impl Terminal {
    /// Starts the tool with these arguments on a terminal of this size.
    pub(crate) fn start(args: &[&str], columns: u16, rows: u16) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
        command.args(args).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        for name in ["PAGER", "ANNALS_PAGER", "LESS", "COLUMNS", "LINES"] {
            command.env_remove(name);
        }
        Self::of(command, columns, rows)
    }

    /// Starts a command on a terminal of this size.
    pub(crate) fn of(mut command: Command, columns: u16, rows: u16) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&controller).expect("access");
        unlockpt(&controller).expect("access");
        let name = ptsname(&controller, Vec::new()).expect("a name").into_string().expect("UTF-8");
        let device = File::options().read(true).write(true).open(name).expect("the terminal");
        let device = OwnedFd::from(device);
        let same = || Stdio::from(device.try_clone().expect("the same terminal"));
        tcsetwinsize(&controller, size(columns, rows)).expect("a size");
        let child = command.stdin(same()).stdout(same()).stderr(same()).spawn().expect("it runs");
        let controller = File::from(controller);
        let output = watched(controller.try_clone().expect("the same terminal"));
        let parser = vt100::Parser::new(rows, columns, 0);
        Self { controller, device, child, output, seen: Vec::new(), parser }
    }

    /// Types text.
    pub(crate) fn press(&mut self, keys: &str) {
        self.controller.write_all(keys.as_bytes()).expect("the terminal takes it");
    }

    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        self.parser.screen_mut().set_size(rows, columns);
        tcsetwinsize(&self.controller, size(columns, rows)).expect("a size");
    }

    /// Waits until the screen shows this text.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.screen().contains(text) {
            assert!(Instant::now() < deadline, "{text:?} is not on\n{}", self.screen());
            self.take(deadline);
        }
    }

    /// What the screen shows.
    pub(crate) fn screen(&self) -> String {
        self.parser.screen().contents()
    }

    /// Reads more output; false at the deadline.
    fn take(&mut self, deadline: Instant) -> bool {
        match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => {
                self.parser.process(&bytes);
                self.seen.extend(bytes);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    /// Everything that was written to the terminal, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the process, and reads the rest of its output.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("its state") {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let _ended = self.child.kill();
                    panic!("it does not end:\n{}", self.screen());
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        while self.take(Instant::now() + Duration::from_millis(100)) {}
        status
    }

    /// Whether the terminal collects lines and echoes what is typed.
    pub(crate) fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.device).expect("its modes").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Passes on what is written to a terminal.
fn watched(mut controller: File) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = controller.read(&mut buffer) {
            if send.send(buffer[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    receive
}
