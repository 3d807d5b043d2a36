//! Joining a network: what is made on disk, for whom, and what is refused.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use virtnet::{Cause, Error};

use crate::lonet::{Place, announce, os_address, registry, run};

/// What joining a network fails for, in words, without the place.
fn refused(place: &Place, name: &str) -> String {
    let error = run(place.config().join(name)).unwrap_err();
    error.to_string().replace(&place.path(), "<tmp>")
}

/// Makes a database in the place of a network, by hand.
fn made_by_hand(place: &Place, network: &str, sql: &str) {
    fs::create_dir_all(place.file(network).parent().unwrap()).unwrap();
    Connection::open(place.file(network)).unwrap().execute_batch(sql).unwrap();
}

#[cfg(unix)]
#[test]
fn folder_and_file_are_private_to_the_user() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let _net = run(place.config().join("t")).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let file = place.file("t");
    let folder = file.parent().unwrap();
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(folder), 0o700);
    assert_eq!(mode(folder.parent().unwrap()), 0o1777, "as the temporary folder itself");
    let aside = mode(&folder.join("registry.db-wal"));
    assert_eq!(aside, 0o600, "SQLite makes its own files as private");
    // What was open to others before is not any more.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    run(place.config().join("t")).unwrap();
    assert_eq!((mode(folder), mode(&file)), (0o700, 0o600));
}

#[cfg(unix)]
#[test]
fn nobody_is_led_into_another_folder() {
    let place = Place::new();
    run(place.config().join("t")).unwrap();
    let elsewhere = tempfile::TempDir::new().unwrap();
    let link = place.file("link");
    std::os::unix::fs::symlink(elsewhere.path(), link.parent().unwrap()).unwrap();
    let text = "lonet: join \"link\": \"<tmp>/lonet/link\" is a symbolic link, and lonet follows \
                none: remove it";
    assert_eq!(refused(&place, "link"), text);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_name_that_leads_out_of_the_folder_is_refused() {
    let place = Place::new();
    for name in [".", "..", "a/b", "../up", "/", "a/", "./a", "/tmp/x"] {
        let text = format!("lonet: join {name:?}: the name of a network must be that of a folder");
        assert_eq!(refused(&place, name), text);
    }
    assert!(refused(&place, "a\0b").starts_with("lonet: join \"a\\x00b\": "));
    let files = fs::read_dir(place.path()).unwrap().count();
    assert!(files <= 1, "something was made outside");
    for name in ["a b", "α", "...", "a:b", "-"] {
        let net = run(place.config().join(name)).unwrap();
        assert_eq!(net.network(), format!("lonet{name}"));
    }
}

#[test]
fn no_name_is_a_new_network_each_time() {
    let place = Place::new();
    let (one, other) =
        (run(place.config().join("")).unwrap(), run(place.config().join("")).unwrap());
    assert_ne!(one.network(), other.network());
    let number = one.network().strip_prefix("lonet").unwrap();
    assert!(number.parse::<u32>().is_ok(), "{number}");
    run(one.new_host("α")).unwrap();
    run(other.new_host("α")).unwrap();
    let again = run(place.config().join(number)).unwrap();
    assert_eq!(*run(again.new_host("α")).unwrap_err().root(), Cause::HostExists);
}

#[test]
fn the_tables_are_those_of_the_reference() {
    let place = Place::new();
    let net = run(place.config().join("t")).unwrap();
    run(net.new_host("α")).unwrap();
    let file = registry(&place, "t");
    let all = |sql: &str| -> Vec<(String, String)> {
        let mut rows = file.prepare(sql).unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        rows.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
    let meta = [pair("network", "t"), pair("schemaver", "lonet.1")];
    assert_eq!(all("SELECT name, value FROM meta ORDER BY name"), meta);
    let at = os_address(&place, "t", "α").to_string();
    assert_eq!(all("SELECT hostname, osladdr FROM hosts"), [pair("α", &at)]);
    assert!(at.starts_with("127.0.0.1:"));
    let columns = |table| {
        all(&format!(
            "SELECT name || ' ' || type, pk FROM (SELECT name, type, CAST(pk AS TEXT) pk \
                      FROM pragma_table_info('{table}'))"
        ))
    };
    assert_eq!(columns("hosts"), [pair("hostname TEXT NON", "1"), pair("osladdr TEXT NON", "0")]);
    assert_eq!(columns("meta"), [pair("name TEXT NON", "1"), pair("value TEXT NON", "0")]);
    assert_eq!(all("SELECT journal_mode, '' FROM pragma_journal_mode"), [pair("wal", "")]);
}

#[test]
fn a_registry_of_others_is_looked_at_before_it_is_used() {
    let place = Place::new();
    run(place.config().join("first")).unwrap();
    let meta = "CREATE TABLE meta (name TEXT, value TEXT);";
    for (name, rows, why) in [
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
        made_by_hand(&place, name, &format!("{meta} INSERT INTO meta VALUES {rows};"));
        let open = format!("<tmp>/lonet/{name}/registry.db: open []");
        let text = format!("lonet: join {name:?}: {open}: setup {name:?}: {why}");
        assert_eq!(refused(&place, name), text);
    }
    fs::create_dir_all(place.file("text").parent().unwrap()).unwrap();
    fs::write(place.file("text"), "this is no database, however long it may be".repeat(30))
        .unwrap();
    assert!(refused(&place, "text").ends_with("open []: file is not a database"));
}

#[test]
fn a_registry_of_others_is_used_whatever_its_constraints() {
    let place = Place::new();
    run(place.config().join("first")).unwrap();
    for (name, constraint) in [("none", ""), ("key", "PRIMARY KEY"), ("unique", "UNIQUE NOT NULL")]
    {
        let tables = format!(
            "PRAGMA journal_mode = delete; CREATE TABLE hosts (hostname TEXT {constraint}, osladdr);
             CREATE TABLE meta (name TEXT, value TEXT); INSERT INTO meta VALUES ('schemaver', '');"
        );
        made_by_hand(&place, name, &tables);
        let net = run(place.config().join(name)).unwrap();
        run(net.new_host("α")).unwrap();
        let error = run(net.new_host("α")).unwrap_err();
        assert_eq!(*error.root(), Cause::HostExists, "{name}");
    }
    registry(&place, "none").execute("INSERT INTO hosts VALUES ('α', 'x')", []).unwrap();
    let net = run(place.config().join("none")).unwrap();
    let error = run(run(net.new_host("β")).unwrap().dial("α:1")).unwrap_err();
    assert!(error.to_string().ends_with("query [\"α\"]: registry broken: duplicate host entries"));
}

#[test]
fn a_name_that_is_taken_is_taken_on_every_subnetwork_and_after_closing() {
    let place = Place::new();
    let (one, other) =
        (run(place.config().join("t")).unwrap(), run(place.config().join("t")).unwrap());
    let host = run(one.new_host("α")).unwrap();
    let at = os_address(&place, "t", "α");
    let expected = |at| {
        let file = place.file("t");
        let announce = format!("{}: announce [\"α\" \"{at}\"]", file.display());
        format!("virtnet \"lonett\": new host \"α\": {announce}: host already registered")
    };
    let taken = |error: Error| {
        assert_eq!(*error.root(), Cause::HostExists);
        error.to_string()
    };
    assert_eq!(taken(run(one.new_host("α")).unwrap_err()), expected(at));
    let elsewhere = run(other.new_host("β")).map(|_| os_address(&place, "t", "β")).unwrap();
    assert_eq!(taken(run(other.new_host("α")).unwrap_err()), expected(elsewhere));
    host.close().unwrap();
    one.close().unwrap();
    assert_eq!(taken(run(other.new_host("α")).unwrap_err()), expected(elsewhere));
}

#[test]
fn what_a_registry_says_of_a_place_is_tried() {
    let place = Place::new();
    let net = run(place.config().join("t")).unwrap();
    let host = run(net.new_host("α")).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (at, why) in [
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
        announce(&place, "t", "β", &at);
        let error = run(host.dial("β:1")).unwrap_err();
        assert_eq!(error.to_string(), format!("dial lonett α:1->β:1: {why}"));
    }
}

#[test]
fn who_holds_a_lock_is_waited_for_and_the_executor_goes_on() {
    let place = Place::new();
    let net = run(place.config().join("t")).unwrap();
    let file = registry(&place, "t");
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut turns = 0;
    run(async {
        let made = std::pin::pin!(net.new_host("α"));
        let others = std::pin::pin!(async {
            for _ in 0..20 {
                async_io::Timer::after(std::time::Duration::from_millis(5)).await;
                turns += 1;
            }
            file.execute_batch("COMMIT").unwrap();
        });
        let (made, ()) = futures::join!(made, others);
        made.unwrap();
    });
    assert_eq!(turns, 20, "the executor stood still");
}

#[test]
fn in_a_simulated_run_it_is_refused() {
    let outcome = virtnet::Run::new(1).execute(async |_| {
        let _ = virtnet::lonet::join("t").await;
    });
    let text = outcome.ending.to_string();
    assert!(text.contains("lonet needs real processes and real time"), "{text}");
}
