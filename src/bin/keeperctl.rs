//! The command line tool.

fn main() -> std::process::ExitCode {
    agent_keeper::cli::main()
}
