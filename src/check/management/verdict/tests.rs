//! Every rule of the judgement, one test each.

use super::*;

const PRESENT: fn(u32) -> Passive = |consumers| Passive::Present { messages: 7, consumers };

fn listener(name: &str, patterns: &[&str]) -> ListenerSpec {
    let patterns = patterns.iter().map(|pattern| TagPattern::new(pattern).unwrap()).collect();
    ListenerSpec { name: name.into(), patterns }
}

/// A queue `inbox` on which `a` and `b` are expected.
fn two() -> QueueSpec {
    QueueSpec { queue: "inbox".into(), listeners: vec![listener("a", &["tag-a"]), listener("b", &["tag-b"])] }
}

fn one() -> QueueSpec {
    QueueSpec { queue: "inbox".into(), listeners: vec![listener("a", &["tag-a"])] }
}

fn none() -> QueueSpec {
    QueueSpec { queue: "inbox".into(), listeners: vec![] }
}

fn seen(tags: &[&str]) -> Vec<SeenConsumer> {
    tags.iter()
        .map(|tag| match tag.strip_prefix('!') {
            Some(inactive) => SeenConsumer { tag: inactive.into(), active: false },
            None => SeenConsumer { tag: (*tag).into(), active: true },
        })
        .collect()
}

fn answered(tags: &[&str], consumers: u64) -> Single {
    Single::Answered(QueueAnswer { consumers: Some(consumers), details: Some(seen(tags)), messages: Some(3) })
}

fn denied() -> ManagementFailure {
    ManagementFailure::Denied { status: 401, from_api: true, said: None }
}

/// What was learned, with the defaults of a quiet world.
struct World {
    spec: QueueSpec,
    list: Option<Result<Vec<SeenConsumer>, ManagementFailure>>,
    single: Single,
    passive: Passive,
    genuine: bool,
}

impl World {
    fn listed(spec: QueueSpec, tags: &[&str], passive: Passive) -> Self {
        Self { spec, list: Some(Ok(seen(tags))), single: Single::NotAsked, passive, genuine: true }
    }

    fn failed(spec: QueueSpec, failure: ManagementFailure, passive: Passive) -> Self {
        let genuine = failure.is_from_api();
        Self { spec, list: Some(Err(failure)), single: Single::NotAsked, passive, genuine }
    }

    fn single(self, single: Single) -> Self {
        Self { single, ..self }
    }

    fn seen(&self) -> Option<Result<&[SeenConsumer], &ManagementFailure>> {
        self.list.as_ref().map(|list| list.as_ref().map(Vec::as_slice))
    }

    fn needs_single(&self) -> bool {
        needs_single(&self.spec, self.seen().unwrap(), self.passive)
    }

    fn decide(&self) -> QueueChecked {
        let Self { spec, single, passive, genuine, .. } = self;
        decide(spec, &Evidence { seen: self.seen(), single, passive: *passive, genuine: *genuine })
    }

    #[track_caller]
    fn finds(&self, queue: Verdict, listeners: &[Verdict], source: &str) {
        let found = self.decide();
        assert_eq!(Verdict { outcome: found.outcome, reason: found.reason }, queue, "{found:?}");
        let of = |listener: &ListenerChecked| Verdict { outcome: listener.outcome, reason: listener.reason };
        assert_eq!(found.listeners.iter().map(of).collect::<Vec<_>>(), listeners, "{found:?}");
        assert_eq!(found.source, source, "{found:?}");
    }
}

const UP: Verdict = Verdict::UP;

fn down(reason: Reason) -> Verdict {
    Verdict::down(reason)
}

fn unknown(reason: Reason) -> Verdict {
    Verdict::unknown(reason)
}

#[test]
fn listeners_with_active_consumers_are_up_whatever_the_numbers() {
    for passive in [Passive::NotAsked, Passive::Denied, PRESENT(2), PRESENT(9)] {
        let world = World::listed(two(), &["x-tag-a-1", "tag-b"], passive);
        assert!(!world.needs_single(), "{passive:?}");
        world.finds(UP, &[UP, UP], "consumers");
    }
}

#[test]
fn nobody_on_a_queue_that_is_wholly_seen_is_down() {
    let world = World::listed(two(), &["tag-a", "other"], PRESENT(2));
    assert!(!world.needs_single());
    world.finds(down(Reason::Listener), &[UP, down(Reason::NoConsumer)], "consumers");
    let empty = World::listed(one(), &[], PRESENT(0));
    assert!(!empty.needs_single());
    empty.finds(down(Reason::Listener), &[down(Reason::NoConsumer)], "consumers");
}

#[test]
fn matches_that_are_not_active_are_down() {
    let world = World::listed(one(), &["!tag-a"], PRESENT(1));
    world.finds(down(Reason::Listener), &[down(Reason::Inactive)], "consumers");
    World::listed(one(), &["!tag-a", "tag-a"], PRESENT(2)).finds(UP, &[UP], "consumers");
}

#[test]
fn an_inactive_match_is_not_down_while_others_are_hidden() {
    let world = World::listed(one(), &["!tag-a"], PRESENT(2));
    assert!(world.needs_single());
    let world = world.single(answered(&["!tag-a"], 2));
    world.finds(unknown(Reason::ConsumersHidden), &[unknown(Reason::ConsumersHidden)], "queue");
}

#[test]
fn an_empty_list_of_a_user_who_sees_only_his_own_is_never_down() {
    for passive in [Passive::NotAsked, Passive::Denied, PRESENT(1)] {
        let world = World::listed(one(), &[], passive);
        assert!(world.needs_single(), "{passive:?}");
        let refused = world.single(Single::Failed(denied()));
        refused.finds(unknown(Reason::ManagementDenied), &[unknown(Reason::ManagementDenied)], "consumers");
        let shown = World::listed(one(), &[], passive).single(answered(&["tag-a"], 1));
        shown.finds(UP, &[UP], "queue");
    }
}

#[test]
fn the_single_queue_completes_the_list() {
    let world = World::listed(two(), &["tag-a"], Passive::NotAsked);
    assert!(world.needs_single());
    let world = world.single(answered(&["tag-a", "other"], 2));
    world.finds(down(Reason::Listener), &[UP, down(Reason::NoConsumer)], "queue");
    let world = World::listed(one(), &[], Passive::Denied).single(answered(&[], 0));
    world.finds(down(Reason::Listener), &[down(Reason::NoConsumer)], "queue");
}

#[test]
fn fewer_than_there_are_is_hidden_for_those_not_seen() {
    let world = World::listed(two(), &["tag-a"], PRESENT(3));
    assert!(world.needs_single());
    let world = world.single(answered(&["tag-a", "other"], 2));
    world.finds(unknown(Reason::ConsumersHidden), &[UP, unknown(Reason::ConsumersHidden)], "queue");
    let world = World::listed(one(), &[], Passive::NotAsked).single(answered(&[], 1));
    world.finds(unknown(Reason::ConsumersHidden), &[unknown(Reason::ConsumersHidden)], "queue");
}

#[test]
fn the_live_count_goes_before_the_lagging_one() {
    let world = World::listed(one(), &[], PRESENT(1)).single(answered(&["other"], 2));
    world.finds(down(Reason::Listener), &[down(Reason::NoConsumer)], "queue");
}

#[test]
fn a_single_queue_without_statistics_tells_nothing() {
    let bare = || Single::Answered(QueueAnswer::default());
    let world = World::listed(two(), &["tag-a"], Passive::NotAsked).single(bare());
    world.finds(unknown(Reason::StatsDisabled), &[UP, unknown(Reason::StatsDisabled)], "consumers");
    let world = World::listed(one(), &[], PRESENT(1)).single(bare());
    world.finds(unknown(Reason::StatsDisabled), &[unknown(Reason::StatsDisabled)], "consumers");
    let world = World::failed(one(), ManagementFailure::StatsDisabled, Passive::NotAsked);
    assert!(world.needs_single());
    world.single(bare()).finds(unknown(Reason::StatsDisabled), &[unknown(Reason::StatsDisabled)], "queue");
}

#[test]
fn a_missing_queue_is_down_with_its_listeners() {
    let no_queue = down(Reason::NoQueue);
    let world = World { list: None, ..World::listed(two(), &[], Passive::Missing) };
    assert!(!needs_list(&world.spec, world.passive));
    world.finds(no_queue, &[no_queue, no_queue], "amqp");
    World::listed(one(), &["tag-a"], Passive::Missing).finds(no_queue, &[no_queue], "amqp");
}

#[test]
fn a_queue_that_the_proven_api_does_not_know_is_down() {
    let not_found = || Single::Failed(ManagementFailure::NotFound);
    let no_queue = down(Reason::NoQueue);
    for passive in [Passive::NotAsked, Passive::Denied] {
        World::listed(one(), &[], passive).single(not_found()).finds(no_queue, &[no_queue], "queue");
        World::failed(one(), denied(), passive).single(not_found()).finds(no_queue, &[no_queue], "queue");
    }
}

#[test]
fn a_queue_that_anything_else_does_not_know_is_unknown() {
    let proxy = ManagementFailure::Denied { status: 403, from_api: false, said: None };
    let world = World::failed(one(), proxy, Passive::NotAsked);
    assert!(world.needs_single());
    let world = world.single(Single::Failed(ManagementFailure::NotFound));
    world.finds(unknown(Reason::ManagementDenied), &[unknown(Reason::ManagementDenied)], "none");
}

#[test]
fn amqp_is_right_where_the_api_knows_no_such_queue() {
    let world = World::listed(one(), &[], PRESENT(1)).single(Single::Failed(ManagementFailure::NotFound));
    world.finds(unknown(Reason::ManagementInvalid), &[unknown(Reason::ManagementInvalid)], "consumers");
}

#[test]
fn a_failed_list_falls_back_where_that_may_help() {
    let server = || ManagementFailure::Server { status: 500, from_api: true };
    let too_large = || ManagementFailure::TooLarge { bytes_max: 1 };
    for failure in [denied(), ManagementFailure::StatsDisabled, server(), too_large()] {
        let world = World::failed(two(), failure, PRESENT(1));
        assert!(world.needs_single());
        let world = world.single(answered(&["tag-a"], 1));
        world.finds(down(Reason::Listener), &[UP, down(Reason::NoConsumer)], "queue");
    }
}

#[test]
fn a_management_failure_is_never_down() {
    let unreachable = || ManagementFailure::Unreachable("refused".into());
    for (failure, reason) in [
        (unreachable(), Reason::ManagementUnreachable),
        (ManagementFailure::Timeout, Reason::ManagementTimeout),
        (ManagementFailure::Tls("bad certificate".into()), Reason::Tls),
        (ManagementFailure::Local("no descriptors".into()), Reason::Local),
        (ManagementFailure::Invalid("HTML"), Reason::ManagementInvalid),
        (ManagementFailure::NotFound, Reason::ManagementInvalid),
    ] {
        let world = World::failed(two(), failure, PRESENT(0));
        assert!(!world.needs_single(), "{reason}");
        world.finds(unknown(reason), &[unknown(reason), unknown(reason)], "amqp");
    }
}

#[test]
fn the_first_failure_is_told_when_both_requests_fail() {
    let world = World::failed(one(), denied(), Passive::NotAsked);
    let world = world.single(Single::Failed(ManagementFailure::Timeout));
    world.finds(unknown(Reason::ManagementDenied), &[unknown(Reason::ManagementDenied)], "none");
}

#[test]
fn every_pattern_of_a_listener_has_to_be_found() {
    let spec = || QueueSpec { queue: "inbox".into(), listeners: vec![listener("a", &["tag-a", "tag-b"])] };
    World::listed(spec(), &["tag-a", "tag-b"], PRESENT(2)).finds(UP, &[UP], "consumers");
    let world = World::listed(spec(), &["tag-a"], PRESENT(1));
    world.finds(down(Reason::Listener), &[down(Reason::NoConsumer)], "consumers");
}

#[test]
fn a_pattern_that_cannot_be_decided_is_unknown() {
    let tag = "a".repeat(60);
    let spec = QueueSpec {
        queue: "inbox".into(),
        listeners: vec![listener("a", &[r"^(a|aa)+(?=b)\1$"]), listener("b", &["nobody"])],
    };
    let world = World::listed(spec, &[&tag], PRESENT(1));
    world.finds(down(Reason::Listener), &[unknown(Reason::Other), down(Reason::NoConsumer)], "consumers");
}

#[test]
fn a_queue_without_listeners_is_up_if_it_exists() {
    assert!(!needs_list(&none(), PRESENT(0)));
    World { list: None, ..World::listed(none(), &[], PRESENT(0)) }.finds(UP, &[], "amqp");
    World::listed(none(), &["any"], Passive::NotAsked).finds(UP, &[], "consumers");
    let world = World::listed(none(), &[], Passive::NotAsked);
    assert!(world.needs_single());
    world.single(Single::Answered(QueueAnswer::default())).finds(UP, &[], "consumers");
    let world = World::listed(none(), &[], Passive::Denied);
    world.single(Single::Failed(denied())).finds(unknown(Reason::ManagementDenied), &[], "consumers");
    let world = World::listed(none(), &[], Passive::NotAsked);
    world.single(Single::Failed(ManagementFailure::NotFound)).finds(down(Reason::NoQueue), &[], "queue");
    World::listed(none(), &[], Passive::Missing).finds(down(Reason::NoQueue), &[], "amqp");
}

#[test]
fn figures_come_from_amqp_and_else_from_the_api() {
    let figures = |world: World| world.decide().figures;
    let of = |messages, consumers, source| {
        Some(QueueFigures { messages: Some(messages), consumers: Some(consumers), source })
    };
    let world = World::listed(one(), &[], PRESENT(1)).single(answered(&["tag-a"], 1));
    assert_eq!(figures(world), of(7, 1, FigureSource::Amqp));
    let world = World::listed(one(), &[], Passive::Denied).single(answered(&["tag-a"], 1));
    assert_eq!(figures(world), of(3, 1, FigureSource::Management));
    let world = World::failed(one(), ManagementFailure::Timeout, PRESENT(2));
    assert_eq!(figures(world), of(7, 2, FigureSource::Amqp));
    assert_eq!(figures(World::listed(one(), &["tag-a"], Passive::NotAsked)), None);
    assert_eq!(figures(World::listed(one(), &[], Passive::Missing)), None);
}
