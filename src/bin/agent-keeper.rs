//! The daemon.

fn main() -> std::process::ExitCode {
    agent_keeper::daemon::main()
}
