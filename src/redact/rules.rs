//! What credentials look like. The manual page agent-keeper.toml(5) is made from this table.
//!
//! The formats are those that their vendors or standards document, or print with each token; nothing is
//! guessed from how random a text looks, so that what is taken away can be explained. (Crates for this look
//! for whole files to report, not for places to cover, or bring models and dozens of dependencies.)

/// A kind of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What it is, as it is written in its place.
    pub name: &'static str,
    /// How it looks: a pattern of the regex crate. If it has a group, the credential is that group.
    pub pattern: &'static str,
    /// Whether something that looks so may be harmless, and counts only if it is neither a number nor a word.
    pub doubtful: bool,
    /// Where the format is documented.
    pub source: &'static str,
}

const fn rule(name: &'static str, pattern: &'static str, source: &'static str) -> Rule {
    Rule { name, pattern, doubtful: false, source }
}

const fn doubtful(name: &'static str, pattern: &'static str, source: &'static str) -> Rule {
    Rule { name, pattern, doubtful: true, source }
}

/// Every rule, those that say most first: what one has covered no other names again.
pub const RULES: [Rule; 24] = [
    rule(
        "private key",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----((?:\\r|\\n|[A-Za-z0-9+/=\s]){16,})",
        "RFC 7468",
    ),
    rule(
        "aws key",
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html",
    ),
    rule(
        "github token",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})",
        "https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github",
    ),
    rule(
        "gitlab token",
        r"\b(?:gl(?:pat|oas|dt|rt|rtr|cbt|ptt|ft|imt|agent|wt|soat|ffct)|GR1348941)-?[A-Za-z0-9_-]{20,}(?:\.[A-Za-z0-9_-]+)*",
        "https://docs.gitlab.com/security/tokens/#token-prefixes",
    ),
    rule(
        "slack token",
        r"\bxox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}|\bxapp-[0-9]-[A-Za-z0-9-]{10,}",
        "https://docs.slack.dev/authentication/tokens",
    ),
    rule(
        "slack webhook",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9/+_-]{20,})",
        "https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks",
    ),
    rule(
        "anthropic key",
        r"\bsk-ant-[A-Za-z0-9_-]{20,}",
        "https://docs.anthropic.com/en/api/admin-api/apikeys/get-api-key",
    ),
    rule(
        "openai key",
        r"\bsk-(?:(?:proj|svcacct|admin|or-v1)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{32,})",
        "https://platform.openai.com/docs/api-reference/authentication",
    ),
    rule("google key", r"\bAIza[A-Za-z0-9_-]{35}", "https://cloud.google.com/docs/authentication/api-keys"),
    rule(
        "google token",
        r"\bya29\.[A-Za-z0-9._-]{20,}|\bGOCSPX-[A-Za-z0-9_-]{28}",
        "https://developers.google.com/identity/protocols/oauth2",
    ),
    rule(
        "stripe key",
        r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{10,}|\bwhsec_[A-Za-z0-9+/=]{24,}",
        "https://docs.stripe.com/keys",
    ),
    rule("npm token", r"\bnpm_[A-Za-z0-9]{36}", "https://docs.npmjs.com/about-access-tokens"),
    rule("pypi token", r"\bpypi-[A-Za-z0-9_-]{40,}", "https://pypi.org/help/#apitoken"),
    rule("hugging face token", r"\bhf_[A-Za-z0-9]{30,}", "https://huggingface.co/docs/hub/security-tokens"),
    rule(
        "docker token",
        r"\bdckr_[po]at_[A-Za-z0-9_-]{20,}",
        "https://docs.docker.com/security/access-tokens/",
    ),
    rule(
        "digitalocean token",
        r"\bdo[opr]_v1_[a-f0-9]{64}",
        "https://docs.digitalocean.com/reference/api/create-personal-access-token/",
    ),
    rule(
        "sendgrid key",
        r"\bSG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}",
        "https://www.twilio.com/docs/sendgrid/ui/account-and-settings/api-keys",
    ),
    rule("age key", r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}", "https://age-encryption.org/v1"),
    rule("json web token", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*", "RFC 7519"),
    rule(
        "authorization",
        r#"(?i)\bauthorization["']?\s*[:=]\s*["']?(?:bearer|basic|token|digest)\s+([A-Za-z0-9._~+/=-]{6,})"#,
        "RFC 6750, RFC 7617",
    ),
    rule("cookie", r"(?i)\b(?:set-)?cookie:\s*([^\s].{5,})", "RFC 6265"),
    rule(
        "password in a url",
        r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@]{0,80}:([^\s/@]{1,200})@",
        "RFC 3986, section 3.2.1",
    ),
    doubtful(
        "secret",
        r#"(?i)(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential)[A-Za-z0-9_.-]{0,20}=["']?([^\s"'`;&<>(){}\[\]$,]{6,})"#,
        "assignments: NAME=value, also in a URL's query",
    ),
    doubtful(
        "secret",
        r#"(?i)(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential)[A-Za-z0-9_.-]{0,20}["']?\s*(?:=>|:=|[:=])\s*["']([^\s"'`]{6,})["']"#,
        "JSON, YAML and programs: \"name\": \"value\"",
    ),
];
