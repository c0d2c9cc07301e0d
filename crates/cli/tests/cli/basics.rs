//! Misuse, help, settings and doctor: what needs neither documents nor models.

use serde_json::json;

use crate::home::Home;

#[test]
fn help_and_version_are_answers_on_stdout() {
    let home = Home::new();
    let help = home.run(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    assert!(help.stdout.contains("hanok ask"), "{}", help.stdout);
    let version = home.run(&["--version"]);
    assert_eq!(version.stdout, format!("hanok {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn misuse_is_exit_code_two_with_an_error_on_stderr() {
    let home = Home::new();
    let cases: [&[&str]; 9] = [
        &[],
        &["fly"],
        &["ask"],
        &["ask", "   "],
        &["ingest"],
        &["search", "x", "-k", "0"],
        &["show", "d1", "--span", "9..3"],
        &["generate"],
        &["pull", "nonsense"],
    ];
    for arguments in cases {
        let ended = home.run(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stderr.is_empty(), "{arguments:?}");
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}

#[test]
fn with_json_every_failure_is_one_object_on_stdout() {
    let home = Home::new();
    let misuse = home.run(&["ask", "--json"]);
    assert_eq!(misuse.code, 2);
    assert_eq!(misuse.json()["error"]["code"], 2);
    let message = misuse.json()["error"]["message"].to_string();
    assert!(message.contains("<QUESTION>"), "{message}");
    let nothing = home.run(&["ask", "Who keeps the key?", "--json"]);
    assert_eq!(nothing.code, 3, "{}", nothing.stderr);
    assert_eq!(nothing.json()["error"]["code"], 3);
    assert!(nothing.stderr.starts_with("error: "), "{}", nothing.stderr);
}

#[test]
fn an_unknown_name_of_a_model_says_what_there_is() {
    let ended = Home::new().run(&["pull", "nonsense"]);
    let expected = "error: there is no model `nonsense`\n\nhint: `hanok pull --list` prints the names; \
                    ORG/REPOSITORY:FILE.gguf names a file of the hub\n";
    assert_eq!(ended.stderr, expected);
}

#[test]
fn config_says_where_each_value_came_from() {
    let home = Home::new()
        .with("HANOK_PORT", "7001")
        .with("HANOK_TOKEN", "secret");
    home.put(".config/hanok/config.toml", "port = 7000\nthreads = 3\n");
    let ended = home.run(&["config", "--context", "512"]);
    let expected = "\
configuration file: [HOME]/.config/hanok/config.toml

data_dir      = [HOME]/.local/share/hanok  (default)
store         = embedded  (default)
store_password_file = (not set)  (default)
models_dir    = [HOME]/.local/share/hanok/models  (default)
model         = (not set)  (default)
embedder      = (not set)  (default)
reranker      = (not set)  (default)
threads       = 3  (file)
kernels       = auto  (default)
context       = 512  (flag --context)
pack          = auto  (default)
kv_cache      = f16  (default)
memory_budget = (not set)  (default)
prompt_cache  = (not set)  (default)
mission       = default  (default)
address       = 127.0.0.1  (default)
port          = 7001  (environment HANOK_PORT)
token         = (set, not shown)  (environment HANOK_TOKEN)
groups        = (not set)  (default)
callers       = (not set)  (default)
watch         = off  (default)
sync_every    = 15min  (default)
refusals      = words  (default)
pdf_passwords = (not set)  (default)
ocr           = off  (default)
dictionary    = none  (default)
log           = (not set)  (default)
";
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, expected),
        "{}",
        ended.stderr
    );
    let json = home.run(&["config", "--json"]).json();
    let port = json["settings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["key"] == "port")
        .unwrap();
    assert_eq!(
        (port["value"].clone(), port["source"].clone()),
        (json!("7001"), json!("environment"))
    );
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let home = Home::new();
    let file = home.put("c.toml", "treads = 2\n");
    let ended = home.run(&["config", "--config", file.to_str().unwrap()]);
    assert_eq!(ended.code, 2);
    let expected = "error: the configuration file `[HOME]/c.toml` has the unknown key `treads`\n\nhint: did you mean `threads`?\n";
    assert_eq!(ended.stderr, expected);
}

#[test]
fn an_unknown_mission_is_refused() {
    let ended = Home::new().run(&["ask", "Who?", "--mission", "finance"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains("there is no mission `finance`"),
        "{}",
        ended.stderr
    );
}

#[test]
fn doctor_on_an_empty_machine_names_what_is_missing_and_the_command_that_brings_it() {
    let home = Home::new().with("HANOK_TYPO", "1");
    let ended = home.run(&["doctor", "--json", "--port", "0"]);
    assert_eq!(ended.code, 0, "{}", ended.stdout);
    let json = ended.json();
    let check = |name: &str| {
        let all = json["checks"].as_array().unwrap();
        all.iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("{name}"))
            .clone()
    };
    assert_eq!(check("program")["status"], "ok");
    assert_eq!(check("data")["status"], "ok");
    assert_eq!(check("documents")["status"], "missing");
    assert_eq!(
        (check("model")["status"].clone(), check("model")["fix"].clone()),
        (json!("missing"), json!("hanok pull"))
    );
    assert_eq!(check("embedder")["fix"], "hanok pull e5");
    assert!(check("settings")["detail"].to_string().contains("HANOK_TYPO"));
}

#[test]
fn doctor_calls_a_broken_part_broken_and_ends_with_three() {
    let home = Home::new();
    let model = home.put("broken.gguf", b"GGUF but not for long");
    let ended = home.run(&["doctor", "--model", model.to_str().unwrap()]);
    assert_eq!(ended.code, 3, "{}", ended.stdout);
    assert!(ended.stdout.contains("broken   model"), "{}", ended.stdout);
}

#[test]
fn a_closed_pipe_is_success_without_a_word() {
    let home = Home::new();
    let mut child = home
        .command(&["pull", "--list"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
