//! Joining a network: what is made on disk, for whom, and what is refused.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use virtnet::{Cause, Error};

use crate::lonet::{TempNetworks, announce, open_registry, os_address, run};

/// What joining a network fails for, in words, without the place.
fn join_error(temp: &TempNetworks, name: &str) -> String {
    let error = run(temp.config().join(name)).unwrap_err();
    error.to_string().replace(&temp.temp_path(), "<tmp>")
}

/// Makes a database in the place of a network, by hand.
fn create_registry(temp: &TempNetworks, network: &str, sql: &str) {
    fs::create_dir_all(temp.registry_file(network).parent().unwrap()).unwrap();
    Connection::open(temp.registry_file(network)).unwrap().execute_batch(sql).unwrap();
}

#[cfg(unix)]
#[test]
fn network_folder_and_files_are_private_to_the_user() {
    use std::os::unix::fs::PermissionsExt;
    let temp = TempNetworks::new();
    let _net = run(temp.config().join("t")).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let file = temp.registry_file("t");
    let folder = file.parent().unwrap();
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(folder), 0o700);
    assert_eq!(mode(folder.parent().unwrap()), 0o1777, "as the temporary folder itself");
    let wal_mode = mode(&folder.join("registry.db-wal"));
    assert_eq!(wal_mode, 0o600, "SQLite makes its own files as private");
    // What was open to others before is not any more.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    run(temp.config().join("t")).unwrap();
    assert_eq!((mode(folder), mode(&file)), (0o700, 0o600));
}

#[cfg(unix)]
#[test]
fn network_folder_that_is_a_symlink_is_refused_and_not_followed() {
    let temp = TempNetworks::new();
    run(temp.config().join("t")).unwrap();
    let elsewhere = tempfile::TempDir::new().unwrap();
    let link = temp.registry_file("link");
    std::os::unix::fs::symlink(elsewhere.path(), link.parent().unwrap()).unwrap();
    let text = "lonet: join \"link\": \"<tmp>/lonet/link\" is a symbolic link, and lonet follows \
                none: remove it";
    assert_eq!(join_error(&temp, "link"), text);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn network_name_that_leads_out_of_the_folder_is_refused() {
    let temp = TempNetworks::new();
    for name in [".", "..", "a/b", "../up", "/", "a/", "./a", "/tmp/x"] {
        let text = format!("lonet: join {name:?}: the name of a network must be that of a folder");
        assert_eq!(join_error(&temp, name), text);
    }
    assert!(join_error(&temp, "a\0b").starts_with("lonet: join \"a\\x00b\": "));
    let files = fs::read_dir(temp.temp_path()).unwrap().count();
    assert!(files <= 1, "something was made outside");
    for name in ["a b", "α", "...", "a:b", "-"] {
        let net = run(temp.config().join(name)).unwrap();
        assert_eq!(net.network(), format!("lonet{name}"));
    }
}

#[test]
fn empty_name_joins_a_new_network_each_time() {
    let temp = TempNetworks::new();
    let (one, other) = (run(temp.config().join("")).unwrap(), run(temp.config().join("")).unwrap());
    assert_ne!(one.network(), other.network());
    let number = one.network().strip_prefix("lonet").unwrap();
    assert!(number.parse::<u32>().is_ok(), "{number}");
    run(one.new_host("α")).unwrap();
    run(other.new_host("α")).unwrap();
    let rejoined = run(temp.config().join(number)).unwrap();
    assert_eq!(*run(rejoined.new_host("α")).unwrap_err().root(), Cause::HostExists);
}

#[test]
fn registry_tables_are_those_of_the_reference() {
    let temp = TempNetworks::new();
    let net = run(temp.config().join("t")).unwrap();
    run(net.new_host("α")).unwrap();
    let file = open_registry(&temp, "t");
    let query = |sql: &str| -> Vec<(String, String)> {
        let mut rows = file.prepare(sql).unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        rows.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
    let meta = [pair("network", "t"), pair("schemaver", "lonet.1")];
    assert_eq!(query("SELECT name, value FROM meta ORDER BY name"), meta);
    let os_addr = os_address(&temp, "t", "α").to_string();
    assert_eq!(query("SELECT hostname, osladdr FROM hosts"), [pair("α", &os_addr)]);
    assert!(os_addr.starts_with("127.0.0.1:"));
    let columns = |table| {
        query(&format!(
            "SELECT name || ' ' || type, pk FROM (SELECT name, type, CAST(pk AS TEXT) pk \
                      FROM pragma_table_info('{table}'))"
        ))
    };
    assert_eq!(columns("hosts"), [pair("hostname TEXT NON", "1"), pair("osladdr TEXT NON", "0")]);
    assert_eq!(columns("meta"), [pair("name TEXT NON", "1"), pair("value TEXT NON", "0")]);
    assert_eq!(query("SELECT journal_mode, '' FROM pragma_journal_mode"), [pair("wal", "")]);
}

#[test]
fn existing_registry_that_does_not_fit_is_refused() {
    let temp = TempNetworks::new();
    run(temp.config().join("first")).unwrap();
    let meta = "CREATE TABLE meta (name TEXT, value TEXT);";
    for (name, rows, reason) in [
        (
            "version",
            "('schemaver', 'lonet.2'), ('network', 'zzz')",
            "schema version mismatch: want \"lonet.1\"; have \"lonet.2\"",
        ),
        (
            "name",
            "('schemaver', 'lonet.1'), ('network', 'zzz')",
            "network name mismatch: want \"name\"; have \"zzz\"",
        ),
        (
            "twice",
            "('schemaver', 'lonet.1'), ('schemaver', 'lonet.1')",
            "config: get \"schemaver\": query: multiple results",
        ),
    ] {
        create_registry(&temp, name, &format!("{meta} INSERT INTO meta VALUES {rows};"));
        let open = format!("<tmp>/lonet/{name}/registry.db: open []");
        let text = format!("lonet: join {name:?}: {open}: setup {name:?}: {reason}");
        assert_eq!(join_error(&temp, name), text);
    }
    fs::create_dir_all(temp.registry_file("text").parent().unwrap()).unwrap();
    fs::write(temp.registry_file("text"), "this is no database, however long it may be".repeat(30))
        .unwrap();
    assert!(join_error(&temp, "text").ends_with("open []: file is not a database"));
}

#[test]
fn existing_registry_with_any_key_constraint_is_used() {
    let temp = TempNetworks::new();
    run(temp.config().join("first")).unwrap();
    for (name, constraint) in [("none", ""), ("key", "PRIMARY KEY"), ("unique", "UNIQUE NOT NULL")]
    {
        let tables = format!(
            "PRAGMA journal_mode = delete; CREATE TABLE hosts (hostname TEXT {constraint}, osladdr);
             CREATE TABLE meta (name TEXT, value TEXT); INSERT INTO meta VALUES ('schemaver', '');"
        );
        create_registry(&temp, name, &tables);
        let net = run(temp.config().join(name)).unwrap();
        run(net.new_host("α")).unwrap();
        let error = run(net.new_host("α")).unwrap_err();
        assert_eq!(*error.root(), Cause::HostExists, "{name}");
    }
    open_registry(&temp, "none").execute("INSERT INTO hosts VALUES ('α', 'x')", []).unwrap();
    let net = run(temp.config().join("none")).unwrap();
    let error = run(run(net.new_host("β")).unwrap().dial("α:1")).unwrap_err();
    assert!(error.to_string().ends_with("query [\"α\"]: registry broken: duplicate host entries"));
}

#[test]
fn host_name_stays_taken_on_every_subnetwork_and_after_close() {
    let temp = TempNetworks::new();
    let (one, other) =
        (run(temp.config().join("t")).unwrap(), run(temp.config().join("t")).unwrap());
    let host = run(one.new_host("α")).unwrap();
    let os_addr = os_address(&temp, "t", "α");
    let expected = |os_addr| {
        let file = temp.registry_file("t");
        let announce = format!("{}: announce [\"α\" \"{os_addr}\"]", file.display());
        format!("virtnet \"lonett\": new host \"α\": {announce}: host already registered")
    };
    let taken_text = |error: Error| {
        assert_eq!(*error.root(), Cause::HostExists);
        error.to_string()
    };
    assert_eq!(taken_text(run(one.new_host("α")).unwrap_err()), expected(os_addr));
    let elsewhere = run(other.new_host("β")).map(|_| os_address(&temp, "t", "β")).unwrap();
    assert_eq!(taken_text(run(other.new_host("α")).unwrap_err()), expected(elsewhere));
    host.close().unwrap();
    one.close().unwrap();
    assert_eq!(taken_text(run(other.new_host("α")).unwrap_err()), expected(elsewhere));
}

#[test]
fn dial_tries_the_registered_os_address_and_reports_its_error() {
    let temp = TempNetworks::new();
    let net = run(temp.config().join("t")).unwrap();
    let host = run(net.new_host("α")).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (os_addr, reason) in [
        (String::new(), "dial tcp4: missing address".to_string()),
        (
            "[::1]:1".to_string(),
            "dial tcp4: address [::1]:1: no suitable address found".to_string(),
        ),
        (
            "garbage".to_string(),
            "dial tcp4: address garbage: no suitable address found".to_string(),
        ),
        (
            format!("localhost:{port}"),
            format!("dial tcp4 127.0.0.1:{port}: connect: connection refused"),
        ),
    ] {
        announce(&temp, "t", "β", &os_addr);
        let error = run(host.dial("β:1")).unwrap_err();
        assert_eq!(error.to_string(), format!("dial lonett α:1->β:1: {reason}"));
    }
}

#[test]
fn new_host_waits_for_a_locked_registry_without_blocking_the_executor() {
    let temp = TempNetworks::new();
    let net = run(temp.config().join("t")).unwrap();
    let file = open_registry(&temp, "t");
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut ticks = 0;
    run(async {
        let new_host = std::pin::pin!(net.new_host("α"));
        let ticking = std::pin::pin!(async {
            for _ in 0..20 {
                async_io::Timer::after(std::time::Duration::from_millis(5)).await;
                ticks += 1;
            }
            file.execute_batch("COMMIT").unwrap();
        });
        let (new_host, ()) = futures::join!(new_host, ticking);
        new_host.unwrap();
    });
    assert_eq!(ticks, 20, "the executor stood still");
}

#[test]
fn join_inside_a_simulated_run_panics() {
    let outcome = virtnet::Run::new(1).execute(async |_| {
        let _ = virtnet::lonet::join("t").await;
    });
    let text = outcome.ending.to_string();
    assert!(text.contains("lonet needs real processes and real time"), "{text}");
}
