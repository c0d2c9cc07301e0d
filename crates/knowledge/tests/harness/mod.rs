//! What `cargo test` and `cargo nextest` expect of a test program that has its own `main`, because it becomes its own
//! child.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Gets the path of this program.
pub(crate) type Test = fn(&Path);

/// `--list` names the tests, names choose some.
pub(crate) fn run_as_harness(tests: &[(&str, Test)]) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut out = std::io::stdout().lock();
    if args.iter().any(|arg| arg == "--ignored") {
        // None is ignored.
        return ExitCode::SUCCESS;
    }
    let lists = args.iter().any(|arg| arg == "--list");
    let chosen: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let is_exact = args.iter().any(|arg| arg == "--exact");
    let is_chosen = |name: &str| {
        let fits = |wanted: &&String| name == wanted.as_str() || !is_exact && name.contains(wanted.as_str());
        lists || chosen.is_empty() || chosen.iter().any(fits)
    };
    let exe = std::env::current_exe().expect("a running program has a path");
    let mut n_passed = 0;
    for (name, test) in tests.iter().filter(|(name, _)| is_chosen(name)) {
        if lists {
            let _ = writeln!(out, "{name}: test");
            continue;
        }
        test(&exe);
        n_passed += 1;
        let _ = writeln!(out, "test {name} ... ok");
    }
    if !lists {
        let _ = writeln!(out, "\ntest result: ok. {n_passed} passed; 0 failed; 0 ignored");
    }
    ExitCode::SUCCESS
}
