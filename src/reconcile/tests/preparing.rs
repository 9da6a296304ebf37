//! Files that are reloaded, and hooks that nobody waits for any more.

use crate::reconcile::action::{Action, Purpose};
use crate::reconcile::fact::{ExitStatus, Fact, Outcome, ProbeKind, Request};
use crate::reconcile::sim::build;
use crate::reconcile::sim::stage::Stage;
use crate::reconcile::snapshot::StateName;
use crate::spec::{Argv, Hooks, RenderedFile, Restart, Service, Signal};

fn with_file(content: &str) -> Service {
    let mut service = build::service("web");
    service.ready = Some(build::probe());
    service.reload_signal = Some(Signal::INT);
    let (content, reload) = (content.to_owned(), true);
    service
        .files
        .insert("/srv/web.conf".to_owned(), RenderedFile { content, reload });
    service
}

fn rewrites(actions: &[Action]) -> usize {
    let rewrites = |action: &&Action| matches!(action, Action::Rewrite { .. });
    actions.iter().filter(rewrites).count()
}

#[test]
fn an_edit_of_a_file_before_it_is_up_comes_once_it_is() {
    let mut stage = Stage::up([with_file("1")]);
    assert_eq!(stage.state("web"), StateName::Preparing);
    assert_eq!(rewrites(&stage.save([with_file("2")])), 0, "nobody could be told yet");
    let id = stage.id("web");
    stage.fact(Fact::Prepared { id, result: Ok(()) });
    assert_eq!(rewrites(&stage.save([with_file("3")])), 0);
    assert_eq!(rewrites(&stage.executed("web")), 0);
    assert_eq!(rewrites(&stage.probed("web", ProbeKind::Ready, Outcome::Success)), 1);
    let told = stage.fact(Fact::Rewritten { id, result: Ok(true) });
    assert!(
        told.iter().any(|action| matches!(action, Action::Deliver { .. })),
        "{told:?}"
    );
    assert_eq!(rewrites(&stage.save([with_file("4")])), 1);
}

#[test]
fn who_is_tired_of_waiting_does_not_wait_for_on_failure() {
    let command = Argv {
        words: vec!["./mail".into()],
        shell: false,
    };
    let mut web = build::service("web");
    web.restart = Restart::No;
    web.hooks = Hooks {
        on_failure: Some(command),
        ..Hooks::default()
    };
    let mut stage = Stage::up([web]);
    stage.executed("web");
    stage.exited("web", ExitStatus::Code(3));
    stage.down();
    assert_eq!(stage.end(), None, "the hook is under way");
    let actions = stage.ask(Request::Hasten);
    let cancelled = |action: &Action| {
        matches!(
            action,
            Action::CancelRun {
                purpose: Purpose::OnFailure,
                ..
            }
        )
    };
    assert!(actions.iter().any(cancelled), "{actions:?}");
    assert!(stage.end().is_some());
}
