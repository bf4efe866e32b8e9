//! What is covered, and what is not.

use proptest::prelude::*;

use super::*;

fn redacted(text: &str) -> String {
    let (mut redactor, mut out) = (Redactor::new(true), Vec::new());
    text.lines().for_each(|line| redactor.push(line.as_bytes(), &mut out));
    String::from_utf8(out).unwrap().trim_end_matches('\n').to_owned()
}

/// Built from parts, so that nobody who scans this file for credentials finds one.
fn secrets() -> Vec<(String, &'static str)> {
    let x = |n: usize| "aB3dE5gH".repeat(n.div_ceil(8))[..n].to_owned();
    vec![
        (format!("AKIA{}", "ABCDEFGH23456723"), "aws key"),
        (format!("ghp_{}", x(36)), "github token"),
        (format!("github_pat_{}", x(60)), "github token"),
        (format!("glpat-{}", x(20)), "gitlab token"),
        (format!("xoxb-{}", x(40)), "slack token"),
        (format!("sk-ant-api03-{}", x(90)), "anthropic key"),
        (format!("sk-proj-{}", x(60)), "openai key"),
        (format!("sk-{}", x(48)), "openai key"),
        (format!("AIza{}", x(35)), "google key"),
        (format!("ya29.{}", x(60)), "google token"),
        (format!("sk_live_{}", x(24)), "stripe key"),
        (format!("npm_{}", x(36)), "npm token"),
        (format!("pypi-AgEI{}", x(60)), "pypi token"),
        (format!("hf_{}", x(34)), "hugging face token"),
        (format!("dckr_pat_{}", x(27)), "docker token"),
        (format!("dop_v1_{}", "0a".repeat(32)), "digitalocean token"),
        (format!("SG.{}.{}", x(22), x(43)), "sendgrid key"),
        (format!("AGE-SECRET-KEY-1{}", "Q".repeat(58)), "age key"),
        (format!("eyJ{}.eyJ{}.{}", x(20), x(30), x(40)), "json web token"),
    ]
}

#[test]
fn the_patterns_are_patterns() {
    assert!(PATTERNS.is_some());
    for rule in RULES {
        let pattern = Regex::new(rule.pattern).unwrap();
        assert!(pattern.captures_len() <= 2, "{}", rule.name);
        assert!(!rule.source.is_empty());
    }
}

/// wezterm's text on disk was refused for this (peers.md, complaint 25).
#[test]
fn complaint_25_credentials_of_known_forms_never_reach_the_disk() {
    for (secret, name) in secrets() {
        for (before, after) in [("", ""), ("export TOKEN=", ""), ("x: \"", "\","), ("日本 ", " ende")] {
            let line = format!("{before}{secret}{after}");
            let made = redacted(&line);
            assert!(!made.contains(&secret[secret.len() - 8..]), "{line} -> {made}");
            assert_eq!(made.chars().count(), line.chars().count(), "{made}");
            assert!(made.contains("[redacted"), "{made}");
        }
        assert!(redacted(&secret).starts_with(&format!("[redacted {name}]")), "{}", redacted(&secret));
    }
}

#[test]
fn words_beside_a_secret_stay() {
    let cases = [
        ("Authorization: Bearer abcdef123456789", "Authorization: Bearer [redacted]*****"),
        (
            "curl -H 'authorization: token 0123456789abcdef' x",
            "curl -H 'authorization: token [redacted]******' x",
        ),
        ("git clone https://me:hunter2hunter2@host/x.git", "git clone https://me:[redacted]****@host/x.git"),
        ("DB_PASSWORD=hunter2", "DB_PASSWORD=*******"),
        ("GET /?access_token=abcdef0123456789&x=1", "GET /?access_token=[redacted]******&x=1"),
        (r#"{"client_secret": "s3cr3t-s3cr3t", "n": 1}"#, r#"{"client_secret": "[redacted]***", "n": 1}"#),
        (
            "hooks.slack.com/services/T000/B000/abcdefghijklmnop",
            "hooks.slack.com/services/[redacted slack webhook]**",
        ),
        ("Cookie: session=abcdef; x=y", "Cookie: [redacted cookie]**"),
    ];
    for (line, expected) in cases {
        assert_eq!(redacted(line), expected);
    }
}

#[test]
fn where_rules_overlap_all_that_any_finds_is_covered() {
    let token = format!("eyJ{0}.eyJ{0}.{0}", "aB3dE5gH".repeat(2));
    let made = redacted(&format!("Cookie: sessionid=SECRET123; jwt={token}; last=SECRET456"));
    let (first, last) = ("[redacted cookie]********", "[redacted]******");
    let middle = format!("[redacted json web token]{}", "*".repeat(token.len() - 25));
    assert_eq!(made, format!("Cookie: {first}{middle}{last}"));
}

#[test]
fn ordinary_lines_stay_as_they_are() {
    let lines = "max_tokens=100000\npassword: string\ntoken = next_token()\nsecret=\nPassword:\n\
        https://example.org:8080/a@b\nsk-learn and sk-ant-hill\nnpm_config_registry=x\ncommit 0123456789abcdef0123456789abcdef01234567\n\
        let token: Token = lexer.next()?;\nuser@host:~/src$ ls\n-----BEGIN CERTIFICATE-----\nMIIBkTCB+wIJAKHBfpEgcMFvMA0GCSqG\n-----END CERTIFICATE-----\n\
        token=true\npassword=******";
    assert_eq!(redacted(lines), lines);
}

#[test]
fn colours_and_links_hide_nothing() {
    let secret = format!("ghp_{}", "aB3dE5gH".repeat(5));
    let (left, right) = secret.split_at(10);
    let made = redacted(&format!("\x1b[1;31m{left}\x1b[0m{right}"));
    assert!(made.starts_with("\x1b[1;31m[redacted \x1b[0mgithub token]"), "{made:?}");
    let link = redacted("\x1b]8;;https://u:hunter2hunter2@host/\x1b\\link\x1b]8;;\x1b\\ and more");
    assert_eq!(link, "\x1b]8;;https://u:[redacted]****@host/\x1b\\link\x1b]8;;\x1b\\ and more");
}

#[test]
fn a_private_key_is_covered_whole_also_when_its_first_line_has_scrolled_away() {
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7";
    let key = format!("-----BEGIN PRIVATE KEY-----\n{line}\n{line}\nabc=\n-----END PRIVATE KEY-----\nafter");
    let made = redacted(&key);
    assert!(!made.contains("MIIE") && !made.contains("abc=") && made.ends_with("-----\nafter"), "{made}");
    let cut = &key[key.find('\n').unwrap() + 1..];
    let made = redacted(&format!("$ cat key\n{cut}"));
    assert!(made.starts_with("$ cat key\n[redacted private key]") && !made.contains("MIIE"), "{made}");
    let quoted = format!(
        "{{\"private_key\": \"-----BEGIN PRIVATE KEY-----\\n{line}\\n-----END PRIVATE KEY-----\\n\"}}"
    );
    assert!(!redacted(&quoted).contains("MIIE"), "{}", redacted(&quoted));
    // A source that only speaks of keys.
    let source = "-----BEGIN RSA PRIVATE KEY-----\nfn main() {\n    let x = 1;\n}";
    assert_eq!(redacted(source), source);
}

#[test]
fn switched_off_it_leaves_everything_alone() {
    let (secret, mut out) = (format!("ghp_{}", "a1".repeat(20)), Vec::new());
    Redactor::new(false).push(secret.as_bytes(), &mut out);
    assert_eq!(out, [secret.as_bytes(), b"\n"].concat());
}

proptest! {
    #[test]
    fn what_is_taken_is_in_order_and_once_and_all_that_was_found(
        parts in proptest::collection::vec((0usize..60, 0usize..20), 0..20)
    ) {
        let mut taken = Taken::default();
        let mut expected = [false; 80];
        for (start, length) in parts {
            taken.take(start..start + length, "");
            expected[start..start + length].fill(true);
        }
        let mut covered = [false; 80];
        for (start, (end, _)) in taken.0 {
            prop_assert!(start < end && !covered[start..end].contains(&true));
            covered[start..end].fill(true);
        }
        prop_assert_eq!(covered, expected);
    }

    #[test]
    fn a_key_without_its_first_line_is_covered_and_nothing_above_it(
        above in "([a-z]{0,9} is no key\n){0,4}", count in 0usize..9, last in "[A-Za-z0-9]{0,9}",
    ) {
        let key = format!("{}{last}\n", "aB3dE5gHaB3dE5gH\n".repeat(count));
        let end = "-----END PRIVATE KEY-----";
        let made = redacted(&format!("{above}{key}{end}"));
        let covered = format!("{}{}\n", "[redacted]******\n".repeat(count), "*".repeat(last.len()));
        prop_assert_eq!(made, format!("{above}{covered}{end}"));
    }

    #[test]
    fn no_line_grows_or_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..120), before in "[a-z]{0,9}") {
        let line: Vec<u8> = line.into_iter().filter(|byte| *byte != b'\n').collect();
        let line = [before.as_bytes(), b" token=", &line].concat();
        let mut out = Vec::new();
        Redactor::new(true).push(&line, &mut out);
        prop_assert!(out.len() <= line.len() + 1);
    }
}
