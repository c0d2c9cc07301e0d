//! A home folder of its own for each test, and the program run in it with nothing inherited.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A home folder that is removed with the test.
pub(crate) struct Home {
    dir: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The one JSON object on stdout.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(
            self.stdout.lines().count(),
            1,
            "one line of JSON: {}{}",
            self.stdout,
            self.stderr
        );
        let value: Value = serde_json::from_str(&self.stdout).unwrap();
        assert_eq!(value["schema"], 1, "{value}");
        value
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        }
    }

    /// Sets an environment variable for all runs.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// Writes a file, folders included.
    pub(crate) fn put(&self, relative: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(relative);
        stdx::fs::create_dir_all(path.parent().unwrap()).unwrap();
        stdx::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hanok"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", "/usr/bin:/bin")
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with_input(arguments, "")
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Ended {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that ends early closes its end; that is its right.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: self.filtered(&output.stdout),
            stderr: self.filtered(&output.stderr),
        }
    }

    /// Text with what differs from run to run replaced.
    fn filtered(&self, bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec())
            .unwrap()
            .replace(&self.dir.path().display().to_string(), "[HOME]")
    }
}

/// A small handbook with two facts, in a folder of its own.
pub(crate) fn handbook(home: &Home) -> PathBuf {
    home.put(
        "docs/handbook.md",
        "# Handbook of the Archive\n\n## Keys\n\nMs Halvorsen keeps the key to the archive room in the reading room.\n\n\
         ## 수수료\n\n열람 수수료는 한 건에 삼천 원이며 접수할 때 냅니다.\n",
    );
    home.path("docs")
}

/// Paths of the program's own folder.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
