//! The channel itself: crowds of commands, crashes, strangers and nonsense.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use crate::operator::{Operator, Said};

#[test]
fn commands_at_the_same_time_all_take_effect() {
    for operator in Operator::with_and_without_a_server() {
        let children: Vec<_> = (0..8)
            .map(|n| {
                let name = format!("Member {n}");
                operator.begin(&["member", "add", "--name", &name, "--role", "admin"], "")
            })
            .collect();
        for child in children {
            Said::from(child.wait_with_output().unwrap()).ok();
        }
        assert_eq!(operator.json(&["member", "list"]).as_array().unwrap().len(), 8);
        operator.on(&["audit", "verify"]).ok();
    }
}

#[test]
fn a_socket_that_a_crash_left_behind_stops_neither_a_command_nor_the_next_server() {
    let mut operator = Operator::with_workspace();
    operator.start();
    operator.add("Ada", "admin");
    operator.crash();
    assert!(operator.socket().exists());
    operator.add("Ben", "rep");
    operator.start();
    operator.add("Cyd", "rep");
    assert_eq!(operator.json(&["member", "list"]).as_array().unwrap().len(), 3);
}

#[test]
fn one_server_holds_a_data_directory() {
    let mut operator = Operator::with_workspace();
    operator.start();
    let second = operator.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(second.out.is_empty(), "{second:?}");
    assert!(second.machine_error().contains("another server holds the data directory"));
    operator.add("Ada", "admin");
}

#[test]
fn only_the_servers_own_user_may_open_the_socket() {
    let mut operator = Operator::with_workspace();
    operator.start();
    let mode = std::fs::metadata(operator.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_socket_without_permission_is_no_missing_server() {
    let mut operator = Operator::with_workspace();
    operator.start();
    std::fs::set_permissions(operator.socket(), std::fs::Permissions::from_mode(0o000)).unwrap();
    let said = operator.on(&["member", "list"]);
    // Root may open it all the same.
    assert!(said.status == 0 || said.err.contains("run the command as"), "{said:?}");
}

#[test]
fn a_command_that_meets_a_workspace_held_by_somebody_else_says_so() {
    let operator = Operator::with_workspace();
    let lock = std::fs::File::create(operator.database().with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let error = operator.on(&["member", "list"]).machine_error();
    assert!(error.contains("stop it first"), "{error}");
}

/// What the server answers to some bytes on its socket.
fn answer(operator: &Operator, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(operator.socket()).unwrap();
    // The server may answer and hang up before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap_or_default();
    line
}

#[test]
fn nonsense_on_the_socket_is_answered_and_harms_nothing() {
    let mut operator = Operator::with_workspace();
    operator.start();
    for bytes in [
        &b"\n"[..],
        b"{}\n",
        b"no json at all\n",
        b"{\"workspace\":\"field\",\"request\":\"Obey\"}\n",
        b"{\"workspace\":\"field\",\"request\":{\"SetPassword\":{\"password\":\"canary\"}}}\n",
        b"{\"workspace\":\"field\",\"request\":\"ListMembers\"}",
        b"\xff\xfe\n",
        b"",
    ] {
        let said = answer(&operator, bytes);
        assert!(said.contains("bad_request") && !said.contains("canary"), "{said}");
    }
    let traversal = b"{\"workspace\":\"../field\",\"request\":\"ListMembers\"}\n";
    assert!(answer(&operator, traversal).contains("no_such_workspace"));
    let huge = vec![b'x'; 3 * 1024 * 1024];
    let said = answer(&operator, &huge);
    assert!(said.is_empty() || said.contains("bad_request"), "{said}");
    assert_eq!(
        answer(&operator, b"{\"workspace\":\"field\",\"request\":\"ListMembers\"}\n"),
        "{\"Ok\":{\"Members\":[]}}\n"
    );
}

#[test]
fn somebody_who_opens_the_socket_and_says_nothing_keeps_nobody_waiting() {
    let mut operator = Operator::with_workspace();
    operator.start();
    let mut silent: Vec<UnixStream> =
        (0..20).map(|_| UnixStream::connect(operator.socket()).unwrap()).collect();
    operator.add("Ada", "admin");
    operator.crash();
    // They were held until the server ended.
    let mut rest = Vec::new();
    silent.iter_mut().for_each(|stream| drop(stream.read_to_end(&mut rest)));
    assert!(rest.is_empty());
}
