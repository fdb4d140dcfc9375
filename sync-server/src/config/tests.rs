//! The promises of configuration: layers win in order, and every mistake is named with its place.

mod issuers;

use super::*;

const EXAMPLE: &str = include_str!("../../server.example.toml");

fn load(text: &str, env: &[(&str, &str)], flags: Flags) -> Result<ServerConfig, ConfigProblems> {
    let mut problems = Vec::new();
    let mut assignments = Vec::new();
    given::from_text(text, Path::new("server.toml"), &mut assignments, &mut problems);
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    given::from_environment(env, &mut assignments);
    given::from_flags(flags, &mut assignments);
    assemble(assignments, problems)
}

fn problems_of(text: &str) -> Vec<String> {
    let problems = load(text, &[], Flags::default()).unwrap_err();
    problems.all().iter().map(ToString::to_string).collect()
}

#[test]
fn the_example_means_the_defaults() {
    let config = ServerConfig::parse(EXAMPLE, Path::new("server.example.toml"));
    assert_eq!(config, Ok(ServerConfig::default()));
}

#[test]
fn the_example_shows_every_key() {
    for setting in SETTINGS {
        let last = setting.key.rsplit('.').next().unwrap();
        let shown = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{last} = "));
        assert!(EXAMPLE.lines().any(shown), "{} is not in server.example.toml", setting.key);
    }
}

#[test]
fn the_example_shows_every_key_of_an_issuer() {
    for key in issuer::ISSUER_KEYS {
        let shown = |line: &str| line.starts_with(&format!("# {key} = "));
        assert!(EXAMPLE.lines().any(shown), "{key} is not in server.example.toml");
    }
}

#[test]
fn the_example_stays_valid_with_its_optional_keys() {
    let text: String = EXAMPLE
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| is_optional(rest)).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    let config = ServerConfig::parse(&text, Path::new("server.example.toml")).unwrap();
    assert!(config.tls.is_some());
    assert_eq!(config.storage.max_page_count, Some(1_000_000));
    assert_eq!(config.issuers.len(), 2);
}

/// A key or a section that is left out of the example.
fn is_optional(line: &str) -> bool {
    line.contains(" = ") || line.starts_with('[')
}

#[test]
fn nothing_at_all_means_the_defaults() {
    assert_eq!(
        ServerConfig::load(None, std::iter::empty(), Flags::default()),
        Ok(ServerConfig::default())
    );
}

#[test]
fn a_flag_beats_the_environment_and_the_environment_beats_the_file() {
    let text = "listen = '1.1.1.1:1'\ndata_dir = 'file'\n[limits]\nmax_connections = 7\n";
    let env = [("FIELDBOOK__LISTEN", "2.2.2.2:2"), ("FIELDBOOK__DATA_DIR", "environment")];
    let flags = Flags { listen: Some("[::1]:3".to_owned()), data_dir: None };

    let config = load(text, &env, flags).unwrap();

    assert_eq!(config.listen.to_string(), "[::1]:3");
    assert_eq!(config.data_dir, Path::new("environment"));
    assert_eq!(config.limits.max_connections, 7);
    assert_eq!(config.limits.frame_bytes, Limits::default().frame_bytes);
}

#[test]
fn every_key_can_be_set_from_the_environment() {
    let env = [
        ("FIELDBOOK__LISTEN", "0.0.0.0:0"),
        ("FIELDBOOK__DATA_DIR", "/srv/fieldbook"),
        ("FIELDBOOK__ALLOWED_ORIGINS", "https://a.example, https://b.example:8443"),
        ("FIELDBOOK__DRAIN_TIMEOUT_MS", "1"),
        ("FIELDBOOK__LIMITS__MAX_CONNECTIONS", "2"),
        ("FIELDBOOK__LIMITS__MAX_HANDSHAKES", "11"),
        ("FIELDBOOK__LIMITS__HANDSHAKE_TIMEOUT_MS", "300"),
        ("FIELDBOOK__LIMITS__IDLE_TIMEOUT_MS", "4000"),
        ("FIELDBOOK__LIMITS__FRAME_BYTES", "600000"),
        ("FIELDBOOK__LIMITS__BATCHES_IN_FLIGHT", "5"),
        ("FIELDBOOK__LIMITS__PAGES_IN_FLIGHT", "3"),
        ("FIELDBOOK__LIMITS__SOCKETS_PER_ADDRESS", "9"),
        ("FIELDBOOK__LIMITS__CONNECTS_PER_MINUTE", "8"),
        ("FIELDBOOK__LIMITS__SOCKETS_PER_MEMBER", "7"),
        ("FIELDBOOK__LIMITS__REQUESTS_PER_MINUTE", "60"),
        ("FIELDBOOK__LIMITS__MEGABYTES_PER_HOUR", "16"),
        ("FIELDBOOK__TLS__CERT", "cert.pem"),
        ("FIELDBOOK__TLS__KEY", "key.pem"),
        ("FIELDBOOK__LOG__LEVEL", "trace"),
        ("FIELDBOOK__LOG__FORMAT", "json"),
        ("FIELDBOOK__TOKEN__TTL_S", "61"),
        ("FIELDBOOK__ACCOUNTS__ACCESS_TTL_S", "300"),
        ("FIELDBOOK__ACCOUNTS__REFRESH_TTL_S", "86400"),
        ("FIELDBOOK__ACCOUNTS__ATTEMPTS_PER_MINUTE", "0"),
        ("FIELDBOOK__ACCOUNTS__TRUSTED_PROXIES", "10.0.0.1, ::1"),
        ("FIELDBOOK__STORAGE__MAX_PAGE_COUNT", "100"),
        ("PATH", "not ours"),
    ];

    let config = load("", &env, Flags::default()).unwrap();

    assert_eq!(env.len() - 1, SETTINGS.len(), "a key is missing from this test");
    assert_eq!(config.allowed_origins, ["https://a.example", "https://b.example:8443"]);
    assert_eq!(config.limits.max_handshakes, 11);
    assert_eq!(config.limits.handshake_timeout, Duration::from_millis(300));
    let limits = &config.limits;
    assert_eq!((limits.sockets_per_address, limits.connects_per_minute), (9, 8));
    assert_eq!((limits.sockets_per_member, limits.requests_per_minute), (7, 60));
    assert_eq!(limits.megabytes_per_hour, 16);
    assert_eq!(
        config.tls,
        Some(TlsFiles { cert: PathBuf::from("cert.pem"), key: PathBuf::from("key.pem") })
    );
    assert_eq!(config.log, Log { level: LogLevel::Trace, format: LogFormat::Json });
    assert_eq!(config.token.ttl, Duration::from_secs(61));
    assert_eq!(config.storage.max_page_count, Some(100));
    assert_eq!(config.accounts.access_ttl, Duration::from_secs(300));
    assert_eq!(config.accounts.refresh_ttl, Duration::from_secs(86_400));
    assert_eq!(config.accounts.attempts_per_minute, 0);
    let proxies: Vec<String> =
        config.accounts.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.1", "::1"]);
}

#[test]
fn all_problems_of_all_layers_are_reported_at_once_with_their_places() {
    let text = "lisen = 1\n\n[limits]\nframe_bytes = 5\nmax_connections = \"7\"\n";
    let env = [("FIELDBOOK__LIMITS__MAX_CONECTIONS", "1"), ("FIELDBOOK__TOKEN__TTL_S", "soon")];
    let flags = Flags { listen: Some("8640".to_owned()), data_dir: Some(String::new()) };

    let problems = load(text, &env, flags).unwrap_err();

    assert_eq!(
        problems.to_string(),
        "server.toml:4: `limits.frame_bytes` must be between 589824 and 1048576, not 5\n\
         server.toml:5: `limits.max_connections` must be a whole number, not a text\n\
         server.toml:1: `lisen` unknown key\n\
         environment variable FIELDBOOK__LIMITS__MAX_CONECTIONS: `limits.max_conections` unknown key\n\
         environment variable FIELDBOOK__TOKEN__TTL_S: `token.ttl_s` must be a whole number, not \"soon\"\n\
         --listen: `listen` must be an address and a port such as 127.0.0.1:8640, not \"8640\"\n\
         --data-dir: `data_dir` must be a path, not \"\""
    );
}

#[test]
fn values_of_the_wrong_type_or_spelling_are_refused() {
    for (text, expected) in [
        ("listen = 8640", "must be an address and a port such as 127.0.0.1:8640, not a number"),
        ("data_dir = ['a']", "must be a path, not a list"),
        ("drain_timeout_ms = -1", "must be between 0 and 600000, not -1"),
        ("drain_timeout_ms = 1.5", "must be a whole number, not a fraction"),
        ("drain_timeout_ms = 99999999999999999999", "not a number beyond 64 bits"),
        ("allowed_origins = 'https://a'", "must be a list of texts, not a text"),
        ("allowed_origins = [1]", "must be a list of texts, not a list of other things"),
        ("allowed_origins = ['*']", "not \"*\""),
        ("allowed_origins = ['https://*.example']", "without a path or a wildcard"),
        ("allowed_origins = ['https://a.example/']", "without a path or a wildcard"),
        ("allowed_origins = ['HTTPS://A.example']", "without a path or a wildcard"),
        ("limits = 5", "unknown key"),
        ("max_connections = 5", "unknown key; did you mean limits.max_connections?"),
        ("[limits.more]\nx = 1", "`limits.more.x` unknown key"),
        ("[log]\nlevel = 'loud'", "must be one of error, warn, info, debug, trace, not \"loud\""),
        ("[log]\nformat = true", "must be one of text, json, not true or false"),
        ("[token]\nttl_s = 1", "must be between 60 and"),
        ("[storage]\nmax_page_count = 1", "must be between 32 and"),
        ("[tls]\ncert = 'a'", "`tls.cert` needs tls.key as well"),
        ("[tls]\nkey = 'a'", "`tls.key` needs tls.cert as well"),
    ] {
        let problems = problems_of(text);
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert!(problems[0].contains(expected), "{text}: {}", problems[0]);
        assert!(problems[0].starts_with("server.toml:"), "{}", problems[0]);
    }
}

#[test]
fn broken_toml_names_its_line() {
    let problems = problems_of("listen = '127.0.0.1:1'\ndata_dir = \n");
    assert!(problems.iter().any(|p| p.starts_with("server.toml:2: is not TOML")), "{problems:?}");
}

#[test]
fn a_missing_file_is_a_problem_and_names_the_file() {
    let path = Path::new("no/such/server.toml");
    let problems = ServerConfig::load(Some(path), std::iter::empty(), Flags::default());
    let text = problems.unwrap_err().to_string();
    assert!(text.starts_with("no/such/server.toml: cannot be read:"), "{text}");
}
