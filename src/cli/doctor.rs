//! `keeperctl doctor`: what would kill the work, and what mends it.

use nix::unistd::Uid;
use serde::Serialize;

use crate::cause::in_words;
use crate::config;
use crate::doctor::facts::{Scene, gather};
use crate::doctor::{CHECKS, Check, Facts, Finding, examine};
use crate::logind::{Linger, Logind};

use super::output::{BAD, DIM, DOUBT, GOOD, NAME, note, pad, paragraph, print, print_json, styled};
use super::{CliError, Context, Exit};

/// How to look.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Mend what can be mended without risk: switch lingering on
    #[arg(long)]
    fix: bool,
    /// With --fix: only say what would be done
    #[arg(long, short = 'n', requires = "fix")]
    dry_run: bool,
    /// List the checks instead of running them
    #[arg(long, conflicts_with = "fix")]
    list: bool,
}

/// One check's result.
#[derive(Debug, Serialize)]
struct Row {
    id: &'static str,
    title: &'static str,
    /// `good`, `problem`, `absent`, `unknown` or `silenced`.
    result: &'static str,
    seen: String,
    costs: Option<String>,
    mend: Option<String>,
}

/// Looks.
pub async fn run(context: &Context, arguments: &Arguments) -> Result<Exit, CliError> {
    if arguments.list {
        return list(context);
    }
    if arguments.fix {
        fix_linger(arguments.dry_run).await?;
    }
    let settings = config::load(&context.places.config).map_err(in_words);
    let program = context.program()?;
    let scene = Scene {
        places: &context.places,
        settings: settings.as_ref().map_err(Clone::clone),
        socket: context.socket().await,
        program: &program,
    };
    let facts = gather(&scene).await;
    show(context, &facts)
}

fn list(context: &Context) -> Result<Exit, CliError> {
    #[derive(Serialize)]
    struct Listed {
        id: &'static str,
        title: &'static str,
    }
    let checks: Vec<Listed> =
        CHECKS.iter().map(|check| Listed { id: check.id, title: check.title }).collect();
    if context.json {
        #[derive(Serialize)]
        struct List {
            checks: Vec<Listed>,
        }
        print_json("keeperctl.doctor.list/1", List { checks })?;
    } else {
        print(
            &checks
                .iter()
                .map(|check| format!("{}  {}\n", pad(check.id, 28), check.title))
                .collect::<String>(),
        )?;
    }
    Ok(Exit::Done)
}

/// Switches lingering on. Where polkit does not let us, the command that does is said.
async fn fix_linger(dry_run: bool) -> Result<(), CliError> {
    let uid = Uid::effective().as_raw();
    let user =
        nix::unistd::User::from_uid(Uid::effective()).ok().flatten().map_or_else(String::new, |u| u.name);
    let ask = async {
        let bus = zbus::Connection::system().await?;
        let logind = Logind::connect(&bus).await?;
        let policy = logind.policy(uid, &user, crate::logind::LINGER_DIR.as_ref()).await?;
        zbus::Result::Ok((logind, policy))
    };
    let Ok((logind, policy)) = ask.await else {
        note("linger: there is no logind here, so there is nothing to switch on");
        return Ok(());
    };
    if policy.linger == Linger::On {
        return Ok(());
    }
    if dry_run {
        note("would switch lingering on");
        return Ok(());
    }
    match logind.set_linger(uid, true).await {
        Ok(()) => note(&styled(GOOD, "lingering is on now")),
        Err(error) => note(&format!(
            "lingering could not be switched on ({error}); somebody with root can: {}",
            styled(NAME, format!("sudo loginctl enable-linger {user}"))
        )),
    }
    Ok(())
}

fn show(context: &Context, facts: &Facts) -> Result<Exit, CliError> {
    let findings = examine(facts);
    let problems = findings.iter().filter(|(_, finding)| matches!(finding, Finding::Problem { .. })).count();
    if context.json {
        #[derive(Serialize)]
        struct Document {
            problems: usize,
            checks: Vec<Row>,
        }
        let checks = findings.iter().map(|(check, finding)| row(check, finding)).collect();
        print_json("keeperctl.doctor/1", Document { problems, checks })?;
    } else {
        // What follows from something said already is noise to a person.
        let told = findings.iter().filter(|(_, finding)| !matches!(finding, Finding::Silenced(_)));
        let mut out: String = told.map(|(check, finding)| lines(check, finding)).collect();
        out.push_str(&match problems {
            0 => format!("{}\n", styled(GOOD, "nothing here would kill your sessions")),
            1 => format!("{}\n", styled(BAD, "1 problem")),
            n => format!("{}\n", styled(BAD, format!("{n} problems"))),
        });
        print(&out)?;
    }
    Ok(if problems > 0 { Exit::Partly } else { Exit::Done })
}

fn row(check: &Check, finding: &Finding) -> Row {
    let (result, seen, costs, mend) = match finding {
        Finding::Good(seen) => ("good", seen.clone(), None, None),
        Finding::Problem { seen, costs, mend } => ("problem", seen.clone(), Some(costs), Some(mend)),
        Finding::Absent { seen, costs } => ("absent", seen.clone(), Some(costs), None),
        Finding::Unknown(why) => ("unknown", why.clone(), None, None),
        Finding::Silenced(because) => ("silenced", format!("because of {because}"), None, None),
    };
    Row { id: check.id, title: check.title, result, seen, costs: costs.cloned(), mend: mend.cloned() }
}

/// Where the text behind a check's mark and title begins.
const INDENT: usize = 10;

fn lines(check: &Check, finding: &Finding) -> String {
    let row = row(check, finding);
    let (mark, style) = match finding {
        Finding::Good(_) => ("✔", GOOD),
        Finding::Problem { .. } => ("✘", BAD),
        Finding::Absent { .. } => ("–", DIM),
        Finding::Unknown(_) => ("?", DOUBT),
        Finding::Silenced(_) => ("·", DIM),
    };
    let mut out = paragraph(&format!("{} ", styled(style, mark)), 2, &format!("{}: {}", row.title, row.seen));
    if let Some(costs) = row.costs {
        out.push_str(&paragraph(&styled(DIM, "  costs   "), INDENT, &costs));
    }
    if let Some(mend) = row.mend {
        out.push_str(&paragraph(&styled(NAME, "  mend    "), INDENT, &mend));
    }
    out
}
