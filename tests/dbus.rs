//! The interface on the bus is a contract, and `packaging/dbus/org.agentkeeper.Keeper1.xml` is its text. It
//! comes from the comments and signatures in `src/dbus/interface.rs`.
//!
//! `AGENT_KEEPER_UPDATE=1 cargo test --test dbus` writes it anew.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::path::Path;

use agent_keeper::dbus::{BUS_NAME, OBJECT_PATH};
use support::Keeper;
use zbus::connection::Builder;
use zbus::fdo::IntrospectableProxy;

const CONTRACT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/dbus/org.agentkeeper.Keeper1.xml");

const HEAD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
<!--
  The object /org/agentkeeper/Keeper1 of agent-keeper, on the user bus as org.agentkeeper.Keeper1 and, with
  and without a bus, peer to peer on $XDG_RUNTIME_DIR/agent-keeper/bus.
  Members are only ever added. Errors are named org.agentkeeper.Keeper1.Error.*, with a sentence for people.
-->
<node name="/org/agentkeeper/Keeper1">
"#;

#[test]
fn what_is_served_is_what_the_contract_says() {
    let keeper = Keeper::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let served = runtime.block_on(introspect(&keeper.path("run/agent-keeper/bus")));
    let own = interface(&served);
    if std::env::var_os("AGENT_KEEPER_UPDATE").is_some() {
        fs::write(CONTRACT, format!("{HEAD}{own}</node>\n")).unwrap();
    }
    let contract = fs::read_to_string(CONTRACT).unwrap();
    assert_eq!(
        members(own),
        members(interface(&contract)),
        "served (left) and {CONTRACT} (right) differ. When only something was added on purpose: \
         AGENT_KEEPER_UPDATE=1 cargo test --test dbus"
    );
}

async fn introspect(socket: &Path) -> String {
    let stream = tokio::net::UnixStream::connect(socket).await.unwrap().into_std().unwrap();
    let connection = Builder::unix_stream(stream).p2p().build().await.unwrap();
    let object = IntrospectableProxy::builder(&connection).destination(BUS_NAME).path(OBJECT_PATH);
    object.build().await.unwrap().introspect().await.unwrap()
}

/// Returns our own interface; the others are D-Bus's.
fn interface(document: &str) -> &str {
    let begin = document.find("  <interface name=\"org.agentkeeper.Keeper1\">").unwrap();
    let length = document[begin..].find("</interface>\n").unwrap() + "</interface>\n".len();
    &document[begin..begin + length]
}

/// Returns the tags, in order, without comments and layout.
fn members(interface: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = interface;
    while let Some(begin) = rest.find('<') {
        rest = &rest[begin..];
        let closing = if rest.starts_with("<!--") { "-->" } else { ">" };
        let end = rest.find(closing).unwrap() + closing.len();
        if closing == ">" {
            tags.push(rest[..end].split_whitespace().collect::<Vec<_>>().join(" "));
        }
        rest = &rest[end..];
    }
    tags
}
