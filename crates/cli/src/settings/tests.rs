//! Layers, folders and refusals of the settings.

use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn resolve(args: &SettingArgs, variables: &[(&str, &str)]) -> Result<Settings> {
    Settings::resolve(args, environment(variables))
}

#[test]
fn sizes_are_read_as_people_write_them() {
    let known = [
        ("2GiB", 2 << 30),
        ("2 gib", 2 << 30),
        ("1.5G", 3 << 29),
        ("1500MB", 1_500_000_000),
        (" 4096 ", 4096),
        ("64k", 65_536),
    ];
    for (text, bytes) in known {
        assert_eq!(size(text), Some(bytes), "{text}");
    }
    for text in [
        "",
        "GiB",
        "-2GiB",
        "2 parsecs",
        "0",
        "1e400",
        "nan",
        "2GiB!",
        "9e99GB",
    ] {
        assert_eq!(size(text), None, "{text}");
    }
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    stdx::fs::write(&file, "port = 1\nthreads = 1\ncontext = 64\n").unwrap();
    let args = SettingArgs {
        config: Some(file),
        port: Some("3".into()),
        ..SettingArgs::default()
    };
    let home = [("HOME", "/home/a"), ("HANOK_PORT", "2"), ("HANOK_THREADS", "2")];
    let settings = resolve(&args, &home).unwrap();
    assert_eq!((settings.port, settings.source("port")), (3, Source::Flag));
    assert_eq!(
        (settings.threads, settings.source("threads")),
        (2, Source::Environment)
    );
    assert_eq!(
        (settings.context, settings.source("context")),
        (Some(64), Source::File)
    );
    assert_eq!(settings.source("address"), Source::Default);
    assert!(settings.address.is_loopback());
}

#[test]
fn folders_follow_xdg_and_home() {
    let settings = resolve(&SettingArgs::default(), &[("HOME", "/home/a")]).unwrap();
    assert_eq!(settings.data_dir, Path::new("/home/a/.local/share/hanok"));
    assert_eq!(
        settings.models_dir,
        Path::new("/home/a/.local/share/hanok/models")
    );
    let xdg = [
        ("HOME", "/home/a"),
        ("XDG_DATA_HOME", "/data"),
        ("HANOK_MODELS_DIR", "~/m"),
    ];
    let settings = resolve(&SettingArgs::default(), &xdg).unwrap();
    assert_eq!(settings.data_dir, Path::new("/data/hanok"));
    assert_eq!(settings.models_dir, Path::new("/home/a/m"));
}

#[test]
fn without_a_home_the_failure_says_which_flag_to_use() {
    let failure = resolve(&SettingArgs::default(), &[]).unwrap_err();
    assert!(failure.hint.unwrap().contains("--data-dir"));
}

#[test]
fn refuses_unknown_keys_and_wrong_types_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    let cases = [
        ("prot = 1", "unknown key `prot`", "did you mean `port`?"),
        (
            "colour = \"red\"",
            "unknown key `colour`",
            "the keys are data_dir",
        ),
        ("port = \"80\"", "`port`", ""),
        ("port = 70000", "`port`", ""),
        ("model = 3", "`model`", ""),
        ("port = ", "not valid TOML", ""),
        ("mission = \"x\"", "no mission `x`", "default"),
    ];
    for (text, message, hint) in cases {
        stdx::fs::write(&file, text).unwrap();
        let args = SettingArgs {
            config: Some(file.clone()),
            ..SettingArgs::default()
        };
        let failure = resolve(&args, &[("HOME", "/h")]).unwrap_err();
        assert_eq!(failure.code, crate::exit::Code::Misuse, "{text}");
        assert!(failure.message.contains(message), "{text}: {failure}");
        assert!(failure.hint.unwrap_or_default().contains(hint), "{text}");
    }
}

#[test]
fn a_dictionary_is_a_folder_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    stdx::fs::write(&file, "dictionary = \"ko-dic\"").unwrap();
    let args = |given: Option<&str>| SettingArgs {
        config: Some(file.clone()),
        dictionary: given.map(str::to_owned),
        ..SettingArgs::default()
    };
    let of = |given| resolve(&args(given), &[("HOME", "/h")]).unwrap().dictionary;
    assert_eq!(of(None), Some(dir.path().join("ko-dic")));
    assert_eq!(of(Some("/d")), Some(PathBuf::from("/d")));
    assert_eq!(of(Some("none")), None);
    let unset = resolve(&SettingArgs::default(), &[("HOME", "/h")]).unwrap();
    assert_eq!((unset.dictionary, unset.raw.len()), (None, KEYS.len()));
}

#[test]
fn a_relative_folder_in_the_file_is_relative_to_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    stdx::fs::write(&file, "data_dir = \"data\"").unwrap();
    let args = SettingArgs {
        config: Some(file),
        ..SettingArgs::default()
    };
    let settings = resolve(&args, &[("HOME", "/h")]).unwrap();
    assert_eq!(settings.data_dir, dir.path().join("data"));
}
