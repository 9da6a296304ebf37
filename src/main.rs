fn main() {
    let mut args = std::env::args_os().skip(1);
    let code = match args.next().as_ref().and_then(|verb| verb.to_str()) {
        Some(runner::guardian::VERB) => runner::guardian::run_verb(args),
        Some(runner::guardian::BARE_VERB) => runner::guardian::run_bare(args),
        _ => 2,
    };
    std::process::exit(code);
}
