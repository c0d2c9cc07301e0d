//! The program under test: started with an environment of its own, its JSON read, its exit code kept.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::shell;

/// How long `serve` may take until it answers.
const START_S: f64 = 60.0;
/// How long one answer over HTTP may take.
const ANSWER: Duration = Duration::from_secs(120);

/// A program, its data folder and its models.
#[derive(Debug, Clone)]
pub(crate) struct Hanok {
    program: PathBuf,
    models: Option<PathBuf>,
    /// Folder of the test.
    pub(crate) work: PathBuf,
    /// Data folder.
    pub(crate) data: PathBuf,
    /// Address and password of the database with the documents, if they are in one.
    store: Option<(String, String)>,
}

impl Hanok {
    /// A program whose data and home lie in `work`.
    pub(crate) fn new(program: &Path, models: Option<&Path>, work: &Path) -> Result<Self> {
        let home = work.join("home");
        stdx::fs::create_dir_all(&home)?;
        Ok(Self {
            program: program.to_path_buf(),
            models: models.map(Path::to_path_buf),
            work: work.to_path_buf(),
            data: work.join("data"),
            store: None,
        })
    }

    /// The same with another data folder.
    pub(crate) fn with_data(&self, data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            ..self.clone()
        }
    }

    /// The same with its documents in a database.
    pub(crate) fn with_store(&self, address: &str, password: &str) -> Self {
        Self {
            store: Some((address.to_owned(), password.to_owned())),
            ..self.clone()
        }
    }

    /// Whether there are models.
    pub(crate) fn has_models(&self) -> bool {
        self.models.is_some()
    }

    /// A command, nothing inherited but `PATH`.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.wrapped(&[], arguments)
    }

    /// A command started through another program (`strace -f …`).
    pub(crate) fn wrapped(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let mut command = match wrapper.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command.args(arguments).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("HOME", self.work.join("home"))
            .env("HANOK_DATA_DIR", &self.data);
        // Without models the folder is an empty one: the machine's own must not help.
        let none = self.work.join("home/no-models");
        command.env("HANOK_MODELS_DIR", self.models.as_ref().unwrap_or(&none));
        if let Some((address, password)) = &self.store {
            command
                .env("HANOK_STORE", address)
                .env("HANOK_STORE_PASSWORD", password);
        }
        command
    }

    /// Runs a command with `--json`; returns exit code and object.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<(i32, Value)> {
        let mut all = arguments.to_vec();
        all.push("--json");
        let mut command = self.command(&all);
        let output = shell::output(&mut command)?;
        read_json(&shell::shown(&command), &output)
    }

    /// Runs a command that must succeed; returns its object.
    pub(crate) fn json_ok(&self, arguments: &[&str]) -> Result<Value> {
        let (code, value) = self.json(arguments)?;
        ensure!(
            code == 0,
            "`hanok {}` ended with {code}: {value}",
            arguments.join(" ")
        );
        Ok(value)
    }

    /// Starts `serve` at a free port and waits until it answers.
    pub(crate) fn serve(&self, wrapper: &[&str]) -> Result<Serving> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let log = self.work.join("serve.log");
        let file = stdx::fs::create(&log)?;
        let child = self
            .wrapped(wrapper, &["serve", "--port", &port.to_string()])
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot start `hanok serve`")?;
        let mut serving = Serving {
            child,
            wrapped: !wrapper.is_empty(),
            port,
        };
        let watch = stdx::clock::Stopwatch::start();
        loop {
            match serving.get("/health") {
                Ok((200, _)) => return Ok(serving),
                _ if serving.child.try_wait()?.is_some() => break,
                _ if watch.s() > START_S => break,
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        bail!(
            "`hanok serve` does not answer at port {port}:\n{}",
            stdx::fs::read_to_string(&log)?
        )
    }
}

/// Exit code and the one object on stdout.
pub(crate) fn read_json(shown: &str, output: &Output) -> Result<(i32, Value)> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let code = output
        .status
        .code()
        .with_context(|| format!("`{shown}` was killed by a signal\n{stderr}"))?;
    let value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "`{shown}` ended with {code} and printed no JSON: {}\n{stderr}",
            String::from_utf8_lossy(&output.stdout)
        )
    })?;
    Ok((code, value))
}

/// A running `hanok serve`; stopped when dropped.
pub(crate) struct Serving {
    child: Child,
    wrapped: bool,
    port: u16,
}

impl Serving {
    /// The server's process: the wrapper's child where there is a wrapper, since a tracer keeps signals to itself.
    fn id(&self) -> u32 {
        let id = self.child.id();
        let children = stdx::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let first = children
            .ok()
            .and_then(|ids| ids.split_whitespace().next()?.parse().ok());
        if self.wrapped { first.unwrap_or(id) } else { id }
    }

    /// GET: status and body.
    pub(crate) fn get(&self, path: &str) -> Result<(u16, String)> {
        self.request(&format!("GET {path} HTTP/1.1\r\n{}\r\n", self.headers()))
    }

    /// POST of a JSON body: status and body.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<(u16, String)> {
        let body = body.to_string();
        let headers = format!(
            "{}Content-Type: application/json\r\nContent-Length: {}\r\n",
            self.headers(),
            body.len()
        );
        self.request(&format!("POST {path} HTTP/1.1\r\n{headers}\r\n{body}"))
    }

    fn headers(&self) -> String {
        format!("Host: 127.0.0.1:{}\r\nConnection: close\r\n", self.port)
    }

    fn request(&self, text: &str) -> Result<(u16, String)> {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port);
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(text.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer
            .split_whitespace()
            .nth(1)
            .and_then(|s| s.parse().ok())
            .context("no HTTP status")?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no HTTP body")?;
        Ok((status, body.to_owned()))
    }

    /// Asks it to end and waits; returns its exit code.
    pub(crate) fn stop(mut self) -> Result<i32> {
        shell::capture(Command::new("kill").arg(self.id().to_string()))?;
        let watch = stdx::clock::Stopwatch::start();
        while watch.s() < START_S {
            if let Some(status) = self.child.try_wait()? {
                return status.code().context("`hanok serve` did not end by itself");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("`hanok serve` does not end when asked to")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.wrapped {
            // Ends the server itself; its tracer follows.
            let _ = Command::new("kill").args(["-9", &self.id().to_string()]).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
