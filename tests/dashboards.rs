//! The dashboards follow the rules of Grafana's dashboard-linter, and our own; each rule is shown to be able to fail.
// Helpers of tests may end them.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, AggregateExpr, Expr, LabelModifier, VectorSelector};
use serde_json::{Value, json};

/// What Grafana 11.0 writes.
const SCHEMA_VERSION: u64 = 39;

/// In place of `$__rate_interval` and the like, so that they are found again in a parsed query.
const INTERVALS: [(&str, Duration); 3] = [
    ("__rate_interval", Duration::from_secs(241)),
    ("__range", Duration::from_secs(3_601)),
    ("__interval", Duration::from_secs(17)),
];

/// Variables of Grafana's own that may be used; those that end in a dot have parts.
const BUILTIN: [&str; 6] =
    ["__rate_interval", "__range", "__interval", "__all", "__url_time_range", "__data.fields."];

/// Panels that are neither deprecated nor a plugin to install.
const TYPES: [&str; 7] = ["row", "text", "stat", "table", "timeseries", "state-timeline", "heatmap"];

/// Units that are used; a mistyped one would be shown behind the number.
const UNITS: [&str; 10] = [
    "none",
    "short",
    "locale",
    "s",
    "bytes",
    "percentunit",
    "cps",
    "cpm",
    "dateTimeFromNow",
    "dateTimeAsLocal",
];

/// Greens by name, and ours.
const GREENS: [&str; 7] =
    ["green", "dark-green", "semi-dark-green", "light-green", "super-light-green", "success", "#1A9E77"];

/// Grafana's grid: columns of a page, and rows that are seen at once.
const COLUMNS: u64 = 24;
const SCREEN: u64 = 24;

/// Queries that a screen may ask.
const QUERIES: usize = 25;

/// What dashboard-linter takes from a `.lint` file: rule, dashboard, panel, and why it need not hold there.
const EXCEPTIONS: [(&str, &str, &str, &str); 3] = [
    ("target-job-rule", "heartbeat-fleet", "Alerts", THE_WATCHDOG_HAS_NO_JOB),
    ("target-instance-rule", "heartbeat-fleet", "Alerts", ALERTS_HAVE_NO_INSTANCE),
    ("target-instance-rule", "heartbeat-fleet", "Alerts, firing and pending", ALERTS_HAVE_NO_INSTANCE),
];

const ALERTS_HAVE_NO_INSTANCE: &str = "most alerts are about a publisher or a component, whichever subscriber tells of it: they have no instance";

const THE_WATCHDOG_HAS_NO_JOB: &str =
    "the alert that always fires tells that the rules are loaded; it is about no job";

// ---------------------------------------------------------------------------------------------- what is judged

/// A dashboard's file, with its queries.
struct Board {
    text: String,
    json: Value,
    queries: Vec<Query>,
}

/// A query of a panel, parsed.
struct Query {
    panel: String,
    text: String,
    parsed: Result<Expr, String>,
}

impl Board {
    fn new(text: String) -> Self {
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
        let mut board = Self { text, json, queries: Vec::new() };
        let mut queries = Vec::new();
        for panel in board.charts() {
            for query in list(&panel["targets"]).iter().map(|target| text_of(&target["expr"])) {
                let (panel, text) = (text_of(&panel["title"]).to_owned(), query.to_owned());
                queries.push(Query { panel, text, parsed: parse(query) });
            }
        }
        board.queries = queries;
        board
    }

    fn of(json: &Value) -> Self {
        Self::new(usual_layout(json))
    }

    fn uid(&self) -> &str {
        text_of(&self.json["uid"])
    }

    /// Every panel, also those in collapsed rows.
    fn panels(&self) -> Vec<&Value> {
        let top = list(&self.json["panels"]);
        top.iter().flat_map(|panel| std::iter::once(panel).chain(list(&panel["panels"]))).collect()
    }

    /// Panels that show data.
    fn charts(&self) -> impl Iterator<Item = &Value> {
        self.panels().into_iter().filter(|panel| !["row", "text"].contains(&text_of(&panel["type"])))
    }

    fn variables(&self) -> &[Value] {
        list(&self.json["templating"]["list"])
    }

    fn variable(&self, name: &str) -> &Value {
        self.variables().iter().find(|variable| variable["name"] == name).unwrap_or(&Value::Null)
    }

    /// Every query that can be parsed, with its panel.
    fn parsed(&self) -> impl Iterator<Item = (&str, &Expr)> {
        self.queries.iter().filter_map(|query| Some((query.panel.as_str(), query.parsed.as_ref().ok()?)))
    }
}

fn usual_layout(json: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(json).unwrap())
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Variables in quotes are text to a parser; intervals are not.
fn parse(query: &str) -> Result<Expr, String> {
    let mut filled = query.to_owned();
    for (name, value) in INTERVALS {
        let value = format!("{}s", value.as_secs());
        filled = filled.replace(&format!("${{{name}}}"), &value).replace(&format!("${name}"), &value);
    }
    parser::parse(&filled)
}

fn interval(name: &str) -> Duration {
    INTERVALS.iter().find(|(known, _)| *known == name).unwrap().1
}

/// An expression with those around it, the nearest last.
fn walk<'a>(expr: &'a Expr, around: &mut Vec<&'a Expr>, visit: &mut impl FnMut(&'a Expr, &[&'a Expr])) {
    visit(expr, around);
    around.push(expr);
    match expr {
        Expr::Aggregate(aggregate) => walk(&aggregate.expr, around, visit),
        Expr::Unary(unary) => walk(&unary.expr, around, visit),
        Expr::Binary(binary) => {
            walk(&binary.lhs, around, visit);
            walk(&binary.rhs, around, visit);
        }
        Expr::Paren(paren) => walk(&paren.expr, around, visit),
        Expr::Subquery(subquery) => walk(&subquery.expr, around, visit),
        Expr::Call(call) => call.args.args.iter().for_each(|arg| walk(arg, around, visit)),
        _ => {}
    }
    around.pop();
}

/// A selector, and the expressions around it; of a range selector, that is the nearest.
struct Found<'a> {
    selector: &'a VectorSelector,
    around: Vec<&'a Expr>,
}

impl Found<'_> {
    fn name(&self) -> &str {
        self.selector.name.as_deref().unwrap_or_default()
    }

    fn range(&self) -> Option<Duration> {
        self.around.last().and_then(|expr| match expr {
            Expr::MatrixSelector(matrix) => Some(matrix.range),
            _ => None,
        })
    }

    /// The function that takes the range.
    fn function(&self) -> &str {
        match self.around.iter().nth_back(1) {
            Some(Expr::Call(call)) => call.func.name,
            _ => "",
        }
    }

    /// The aggregation in which the instances become one.
    fn joins_instances(&self) -> Option<&AggregateExpr> {
        let aggregates = self.around.iter().rev().filter_map(|expr| match expr {
            Expr::Aggregate(aggregate) => Some(aggregate),
            _ => None,
        });
        aggregates.into_iter().find(|aggregate| !by(aggregate).contains("instance"))
    }

    fn matcher(&self, label: &str) -> Option<&Matcher> {
        self.selector.matchers.matchers.iter().find(|matcher| matcher.name == label)
    }
}

fn by(aggregate: &AggregateExpr) -> BTreeSet<String> {
    match &aggregate.modifier {
        Some(LabelModifier::Include(labels)) => labels.labels.iter().cloned().collect(),
        _ => BTreeSet::new(),
    }
}

fn selectors(expr: &Expr) -> Vec<Found<'_>> {
    let mut found = Vec::new();
    walk(expr, &mut Vec::new(), &mut |expr, around| match expr {
        Expr::VectorSelector(selector) => found.push(Found { selector, around: around.to_vec() }),
        Expr::MatrixSelector(matrix) => {
            let around = around.iter().copied().chain([expr]).collect();
            found.push(Found { selector: &matrix.vs, around });
        }
        _ => {}
    });
    found
}

/// Every text in it, with the keys above.
fn texts<'a>(value: &'a Value, path: &str, found: &mut Vec<(String, &'a str)>) {
    match value {
        Value::String(text) => found.push((path.to_owned(), text)),
        Value::Array(values) => values.iter().for_each(|value| texts(value, path, found)),
        Value::Object(values) => {
            values.iter().for_each(|(key, value)| texts(value, &format!("{path}/{key}"), found));
        }
        _ => {}
    }
}

/// Names behind a dollar, with or without braces, without the format.
fn variables_in(text: &str) -> Vec<&str> {
    let names = text.split('$').skip(1).map(|rest| match rest.strip_prefix('{') {
        Some(rest) => rest.split(['}', ':']).next().unwrap_or_default(),
        None => rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or_default(),
    });
    names.filter(|name| !name.is_empty()).collect()
}

// -------------------------------------------------------------------------------------------------- the rules

/// What a rule found: the panel or the part, and what is wrong there.
type Findings = Vec<(String, String)>;

/// A rule by its name.
type Rule = (&'static str, fn(&Board) -> Findings);

const RULES: &[Rule] = &[
    ("template-datasource-rule", template_datasource),
    ("template-job-rule", template_job),
    ("template-instance-rule", template_instance),
    ("template-label-promql-rule", template_label_promql),
    ("template-on-time-change-reload-rule", template_on_time_change_reload),
    ("panel-datasource-rule", panel_datasource),
    ("panel-title-description-rule", panel_title_description),
    ("panel-units-rule", panel_units),
    ("panel-no-targets-rule", panel_no_targets),
    ("target-promql-rule", target_promql),
    ("target-rate-interval-rule", target_rate_interval),
    ("target-job-rule", target_job),
    ("target-instance-rule", target_instance),
    ("target-counter-agg-rule", target_counter_agg),
    ("uneditable-dashboard", uneditable),
    ("identity", identity),
    ("layout", layout),
    ("tag-link", tag_link),
    ("data-links", data_links),
    ("variables-defined", variables_defined),
    ("ids-unique", ids_unique),
    ("titles-unique", titles_unique),
    ("grid", grid),
    ("panel-types", panel_types),
    ("words-with-colours", words_with_colours),
    ("nothing-is-green-by-default", nothing_is_green_by_default),
    ("legends", legends),
    ("metrics-documented", metrics_documented),
    ("labels-documented", labels_documented),
    ("replicas", replicas),
    ("only-our-targets", only_our_targets),
    ("bounded-names", bounded_names),
    ("queries-per-screen", queries_per_screen),
];

/// template-datasource-rule: one Prometheus can be chosen.
fn template_datasource(board: &Board) -> Findings {
    let variable = board.variable("datasource");
    let right = variable["type"] == "datasource"
        && variable["query"] == "prometheus"
        && variable["label"] == "Data source";
    unless(right, "datasource", "no variable of type datasource, for prometheus, labelled Data source")
}

/// template-job-rule.
fn template_job(board: &Board) -> Findings {
    target_variable(board, "job", "Job")
}

/// template-instance-rule.
fn template_instance(board: &Board) -> Findings {
    target_variable(board, "instance", "Instance")
}

fn target_variable(board: &Board, name: &str, label: &str) -> Findings {
    let variable = board.variable(name);
    let right = variable["type"] == "query"
        && variable["label"] == label
        && variable["multi"] == true
        && variable["includeAll"] == true
        && variable["allValue"] == ".+"
        && variable["datasource"]["uid"] == "${datasource}";
    unless(right, name, "not a query of several values, .+ for all, on ${datasource}, with its label")
}

/// template-label-promql-rule: what variables ask is `label_values`, of a selector if any.
fn template_label_promql(board: &Board) -> Findings {
    let mut findings = Findings::new();
    for variable in board.variables().iter().filter(|variable| variable["type"] == "query") {
        let query = text_of(&variable["query"]["query"]);
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let selector = inner.and_then(|inner| inner.rsplit_once(", ")).map(|(selector, _)| selector);
        let right = selector.is_some_and(|selector| matches!(parse(selector), Ok(Expr::VectorSelector(_))));
        findings.extend(unless(right, text_of(&variable["name"]), query));
    }
    findings
}

/// template-on-time-change-reload-rule: variables follow the time range.
fn template_on_time_change_reload(board: &Board) -> Findings {
    let queries = board.variables().iter().filter(|variable| variable["type"] == "query");
    let stale = queries.filter(|variable| variable["refresh"] != 2);
    stale.map(|variable| found(text_of(&variable["name"]), "refresh is not 2")).collect()
}

/// panel-datasource-rule: panels and their targets use the variable, so there is no LogQL either.
fn panel_datasource(board: &Board) -> Findings {
    let ours = json!({"type": "prometheus", "uid": "${datasource}"});
    let mut findings = Findings::new();
    for panel in board.charts() {
        let all = std::iter::once(panel).chain(list(&panel["targets"]));
        let right = all.into_iter().all(|part| part["datasource"] == ours);
        findings.extend(unless(right, text_of(&panel["title"]), "another data source than ${datasource}"));
    }
    findings
}

/// panel-title-description-rule: a description is a sentence or more.
fn panel_title_description(board: &Board) -> Findings {
    let mut findings = Findings::new();
    for panel in board.panels() {
        let title = text_of(&panel["title"]);
        let description = text_of(&panel["description"]);
        let told = panel["type"] == "row" || (description.len() > 20 && description.ends_with('.'));
        findings.extend(unless(!title.is_empty() && told, title, "no title, or no description"));
    }
    findings
}

/// panel-units-rule: a unit that Grafana knows; also in overrides.
fn panel_units(board: &Board) -> Findings {
    let mut findings = Findings::new();
    for panel in board.charts() {
        let overrides = list(&panel["fieldConfig"]["overrides"]).iter();
        let properties = overrides.flat_map(|one| list(&one["properties"]));
        let overridden = properties.filter(|property| property["id"] == "unit").map(|unit| &unit["value"]);
        for unit in std::iter::once(&panel["fieldConfig"]["defaults"]["unit"]).chain(overridden) {
            findings.extend(unless(
                UNITS.contains(&text_of(unit)),
                text_of(&panel["title"]),
                &format!("unit {unit}"),
            ));
        }
    }
    findings
}

/// panel-no-targets-rule.
fn panel_no_targets(board: &Board) -> Findings {
    let idle = board.charts().filter(|panel| list(&panel["targets"]).is_empty());
    idle.map(|panel| found(text_of(&panel["title"]), "no targets")).collect()
}

/// target-promql-rule: every query parses.
fn target_promql(board: &Board) -> Findings {
    let wrong = board.queries.iter().filter_map(|query| Some((query, query.parsed.as_ref().err()?)));
    wrong.map(|(query, error)| found(&query.panel, &format!("{error}: {}", query.text))).collect()
}

/// target-rate-interval-rule: rates take `$__rate_interval`; no window is fixed.
fn target_rate_interval(board: &Board) -> Findings {
    each_selector(board, |selector| {
        let Some(range) = selector.range() else { return true };
        let of_rate = ["rate", "irate"].contains(&selector.function());
        range == interval("__rate_interval") || (!of_rate && range == interval("__range"))
    })
}

/// target-job-rule: every selector has `job=~"$job"`.
fn target_job(board: &Board) -> Findings {
    each_selector(board, |selector| has_target_matcher(selector, "job"))
}

/// target-instance-rule: every selector has `instance=~"$instance"`.
fn target_instance(board: &Board) -> Findings {
    each_selector(board, |selector| has_target_matcher(selector, "instance"))
}

fn has_target_matcher(selector: &Found<'_>, label: &str) -> bool {
    let matcher = selector.matcher(label);
    matcher
        .is_some_and(|matcher| matches!(matcher.op, MatchOp::Re(_)) && matcher.value == format!("${label}"))
}

/// target-counter-agg-rule: counters only in rate, irate or increase; buckets likewise.
fn target_counter_agg(board: &Board) -> Findings {
    each_selector(board, |selector| {
        let counts = ["_total", "_bucket", "_count", "_sum"].iter().any(|end| selector.name().ends_with(end));
        !counts || ["rate", "irate", "increase"].contains(&selector.function())
    })
}

/// uneditable-dashboard: what is provisioned is changed in the file.
fn uneditable(board: &Board) -> Findings {
    unless(board.json["editable"] == false, "dashboard", "editable")
}

/// Its name, its tag, and how it begins.
fn identity(board: &Board) -> Findings {
    let json = &board.json;
    let title = text_of(&json["title"]).strip_prefix("Heartbeat / ").unwrap_or_default();
    let wrong = [
        ("uid", !title.is_empty() && board.uid() == format!("heartbeat-{}", title.to_lowercase())),
        ("tags", list(&json["tags"]).contains(&json!("heartbeat"))),
        ("schemaVersion", json["schemaVersion"] == SCHEMA_VERSION),
        ("timezone", json["timezone"] == "browser"),
        ("refresh", json["refresh"] == "30s"),
        ("time", text_of(&json["time"]["from"]).starts_with("now-") && json["time"]["to"] == "now"),
        ("id", json["id"].is_null()),
        ("description", !text_of(&json["description"]).is_empty()),
    ];
    wrong.iter().filter(|(_, right)| !right).map(|(key, _)| found(key, "not as agreed")).collect()
}

/// Two spaces, keys in order, one newline at the end: as little as possible changes with a change.
fn layout(board: &Board) -> Findings {
    let wanted = usual_layout(&board.json);
    let line = wanted.lines().zip(board.text.lines()).take_while(|(wanted, is)| wanted == is).count() + 1;
    unless(wanted == board.text, "file", &format!("not laid out as usual, from line {line} on"))
}

/// A menu of all dashboards of the tag, which keeps time and variables.
fn tag_link(board: &Board) -> Findings {
    let links = list(&board.json["links"]);
    let right = links.iter().any(|link| {
        link["type"] == "dashboards"
            && link["asDropdown"] == true
            && link["includeVars"] == true
            && link["keepTime"] == true
            && link["tags"] == json!(["heartbeat"])
    });
    unless(right, "links", "no menu of the tag heartbeat")
}

/// Links lead to a dashboard that is there, hand over what it needs, and take it from labels that the panel has.
fn data_links(board: &Board) -> Findings {
    let mut findings = Findings::new();
    for panel in board.panels() {
        let mut all = Vec::new();
        texts(panel, "", &mut all);
        for (_, url) in
            all.into_iter().filter(|(path, _)| path.ends_with("links/url") || path.ends_with("value/url"))
        {
            let parts = ["${datasource:queryparam}", "var-job=", "var-publisher=", "${__url_time_range}"];
            let uid = url.strip_prefix("/d/").and_then(|rest| rest.split('?').next()).unwrap_or_default();
            let is_there = BOARDS.contains_key(uid);
            let whole = parts.iter().all(|part| url.contains(part));
            let labels = labels_of(panel);
            let fields = variables_in(url).into_iter().filter_map(|name| name.strip_prefix("__data.fields."));
            let known = fields.into_iter().all(|field| labels.contains(field));
            findings.extend(unless(is_there && whole && known, text_of(&panel["title"]), url));
        }
    }
    findings
}

/// Labels by which the panel's queries group.
fn labels_of(panel: &Value) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    for target in list(&panel["targets"]) {
        if let Ok(expr) = parse(text_of(&target["expr"])) {
            walk(&expr, &mut Vec::new(), &mut |expr, _| {
                if let Expr::Aggregate(aggregate) = expr {
                    labels.extend(by(aggregate));
                }
            });
        }
    }
    labels
}

/// Every variable is defined, or Grafana's.
fn variables_defined(board: &Board) -> Findings {
    let mut all = Vec::new();
    texts(&board.json, "", &mut all);
    let is_builtin = |name: &str| {
        BUILTIN
            .iter()
            .any(|builtin| name == *builtin || (builtin.ends_with('.') && name.starts_with(builtin)))
    };
    let used =
        all.iter().flat_map(|(path, text)| variables_in(text).into_iter().map(move |name| (path, name)));
    let unknown = used.filter(|(_, name)| !is_builtin(name) && board.variable(name).is_null());
    unknown.map(|(path, name)| found(path, &format!("${{{name}}} is not defined"))).collect()
}

/// Panels are told apart by their numbers.
fn ids_unique(board: &Board) -> Findings {
    let mut ids = BTreeSet::new();
    let twice = board.panels().into_iter().filter(|panel| !ids.insert(panel["id"].as_u64()));
    twice.map(|panel| found(text_of(&panel["title"]), "its id is another panel's, too")).collect()
}

/// And by their titles, for people.
fn titles_unique(board: &Board) -> Findings {
    let mut titles = BTreeSet::new();
    let twice = board.panels().into_iter().filter(|panel| !titles.insert(text_of(&panel["title"])));
    twice.map(|panel| found(text_of(&panel["title"]), "its title is another panel's, too")).collect()
}

/// Panels stay on the page, and beside each other.
fn grid(board: &Board) -> Findings {
    let place =
        |panel: &Value| ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap_or_default());
    let panels = board.panels();
    let mut findings = Findings::new();
    for (index, panel) in panels.iter().enumerate() {
        let [x, y, w, h] = place(panel);
        findings.extend(unless(w > 0 && h > 0 && x + w <= COLUMNS, text_of(&panel["title"]), "off the page"));
        let meets = |other: &Value| {
            let [ox, oy, ow, oh] = place(other);
            x < ox + ow && ox < x + w && y < oy + oh && oy < y + h
        };
        let met = panels[..index].iter().find(|other| meets(other));
        findings
            .extend(met.map(|other| found(text_of(&panel["title"]), &format!("over {}", other["title"]))));
    }
    findings
}

/// No deprecated panel, and none that has to be installed.
fn panel_types(board: &Board) -> Findings {
    let strange = board.panels().into_iter().filter(|panel| !TYPES.contains(&text_of(&panel["type"])));
    strange.map(|panel| found(text_of(&panel["title"]), text_of(&panel["type"]))).collect()
}

/// A colour is never alone: what is mapped has a word, and timelines are mapped.
fn words_with_colours(board: &Board) -> Findings {
    let mut findings = Findings::new();
    for panel in board.charts() {
        let config = &panel["fieldConfig"];
        let overrides = list(&config["overrides"]).iter().flat_map(|one| list(&one["properties"]));
        let overridden = overrides.filter(|property| property["id"] == "mappings").map(|one| &one["value"]);
        let all = std::iter::once(&config["defaults"]["mappings"]).chain(overridden);
        let options = all.flat_map(list).filter_map(|one| one["options"].as_object());
        let worded =
            options.flat_map(|options| options.values()).all(|option| !text_of(&option["text"]).is_empty());
        let mapped = panel["type"] != "state-timeline" || !list(&config["defaults"]["mappings"]).is_empty();
        findings.extend(unless(worded && mapped, text_of(&panel["title"]), "a colour without a word"));
    }
    findings
}

/// What there is no value of, or none known, does not look well.
fn nothing_is_green_by_default(board: &Board) -> Findings {
    let mut findings = Findings::new();
    for panel in board.charts() {
        let config = &panel["fieldConfig"];
        let overrides = list(&config["overrides"]).iter().flat_map(|one| list(&one["properties"]));
        let overridden = overrides.filter(|property| property["id"] == "thresholds").map(|one| &one["value"]);
        for thresholds in std::iter::once(&config["defaults"]["thresholds"]).chain(overridden) {
            let base = text_of(&thresholds["steps"][0]["color"]);
            findings.extend(unless(
                !GREENS.contains(&base),
                text_of(&panel["title"]),
                "green below all thresholds",
            ));
        }
        let mappings = list(&config["defaults"]["mappings"]).iter();
        let special = mappings.filter(|mapping| mapping["type"] == "special");
        let green =
            special.filter(|mapping| GREENS.contains(&text_of(&mapping["options"]["result"]["color"])));
        findings.extend(green.map(|_| found(text_of(&panel["title"]), "a missing value is green")));
    }
    findings
}

/// Lines have names, from labels that the query leaves.
fn legends(board: &Board) -> Findings {
    let mut findings = Findings::new();
    for panel in board.charts().filter(|panel| panel["type"] != "table") {
        let mut known = labels_of(panel);
        // Without an aggregation all of them stay.
        known.insert("instance".into());
        for legend in list(&panel["targets"]).iter().map(|target| text_of(&target["legendFormat"])) {
            let labels = legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
            let right =
                !["", "__auto"].contains(&legend) && labels.into_iter().all(|label| known.contains(label));
            findings.extend(unless(right, text_of(&panel["title"]), &format!("legend {legend:?}")));
        }
    }
    findings
}

/// Every metric is in docs/metrics.md, or Prometheus' own.
fn metrics_documented(board: &Board) -> Findings {
    let documented = documented();
    each_selector(board, |selector| {
        documented.contains_key(selector.name())
            || selector.name().is_empty() && selector.matcher("__name__").is_some()
    })
}

/// Labels that are selected, and those by which is grouped, are those of the metrics.
fn labels_documented(board: &Board) -> Findings {
    let documented = documented();
    let of = |name: &str| documented.get(name).cloned().unwrap_or_default();
    let mut findings = each_selector(board, |selector| {
        let mut names = selector.selector.matchers.matchers.iter().map(|matcher| &matcher.name);
        names.all(|name| of(selector.name()).contains(name))
    });
    for (panel, expr) in board.parsed() {
        walk(expr, &mut Vec::new(), &mut |expr, _| {
            if let Expr::Aggregate(aggregate) = expr {
                let inside: BTreeSet<String> =
                    selectors(expr).iter().flat_map(|selector| of(selector.name())).collect();
                let strange: Vec<String> = by(aggregate).difference(&inside).cloned().collect();
                findings.extend(unless(strange.is_empty(), panel, &format!("groups by {strange:?}")));
            }
        });
    }
    findings
}

/// Replicas show the same state: nothing of it is summed over them; what each counts for itself is.
fn replicas(board: &Board) -> Findings {
    each_selector(board, |selector| {
        let name = selector.name();
        let joins = selector.joins_instances().map(|aggregate| aggregate.op.to_string()).unwrap_or_default();
        let state = ["heartbeat_publisher_", "heartbeat_component_", "heartbeat_queue_"];
        match name {
            "heartbeat_publisher_up" => joins == "max",
            // Over time, that one counts which has been there the longest.
            "heartbeat_component_up" | "heartbeat_component_unknown" if selector.range().is_none() => {
                joins == "min"
            }
            _ if state.iter().any(|prefix| name.starts_with(prefix)) => {
                ["max", "min"].contains(&joins.as_str())
            }
            _ if name.starts_with("heartbeat_") && selector.range().is_some() => {
                ["sum", "max", ""].contains(&joins.as_str())
            }
            _ => true,
        }
    })
}

/// `up` and `process_*` are everybody's: a query of them also names ours, or all jobs would be every program there is.
fn only_our_targets(board: &Board) -> Findings {
    let mut findings = Findings::new();
    for (panel, expr) in board.parsed() {
        let selectors = selectors(expr);
        let others = selectors.iter().any(|one| one.name() == "up" || one.name().starts_with("process_"));
        let ours = selectors.iter().any(|one| one.name().starts_with("heartbeat_"));
        findings.extend(unless(!others || ours, panel, "not only of our own targets"));
    }
    findings
}

/// No query asks for metrics by a pattern of their names.
fn bounded_names(board: &Board) -> Findings {
    each_selector(board, |selector| selector.selector.name.is_some())
}

/// A screen asks a bounded number of queries, wherever one has scrolled to.
fn queries_per_screen(board: &Board) -> Findings {
    let charts: Vec<&Value> = board.charts().collect();
    let span = |panel: &Value| {
        let y = panel["gridPos"]["y"].as_u64().unwrap_or_default();
        (y, y + panel["gridPos"]["h"].as_u64().unwrap_or_default())
    };
    let mut findings = Findings::new();
    for panel in &charts {
        let (top, _) = span(panel);
        let seen = charts.iter().filter(|other| span(other).0 < top + SCREEN && span(other).1 > top);
        let queries: usize = seen.map(|other| list(&other["targets"]).len()).sum();
        findings.extend(unless(
            queries <= QUERIES,
            text_of(&panel["title"]),
            &format!("{queries} queries at once"),
        ));
    }
    findings
}

fn found(place: &str, what: &str) -> (String, String) {
    (place.to_owned(), what.to_owned())
}

fn unless(right: bool, place: &str, what: &str) -> Findings {
    if right { Findings::new() } else { vec![found(place, what)] }
}

/// A rule on selectors: those for which it does not hold.
fn each_selector(board: &Board, holds: impl Fn(&Found<'_>) -> bool) -> Findings {
    let mut findings = Findings::new();
    for (panel, expr) in board.parsed() {
        for selector in selectors(expr).iter().filter(|selector| !holds(selector)) {
            findings.push(found(panel, &selector.selector.to_string()));
        }
    }
    findings
}

// --------------------------------------------------------------------------------------------- what they need

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every dashboard by its uid.
static BOARDS: LazyLock<BTreeMap<String, Board>> = LazyLock::new(|| {
    let files = fs::read_dir(root().join("dashboards")).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let boards = files.map(|path| Board::new(fs::read_to_string(path).unwrap()));
    boards.map(|board| (board.uid().to_owned(), board)).collect()
});

/// Words in backticks.
fn ticked(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Metric to labels, from docs/metrics.md, with what Prometheus adds.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let own =
        |labels: &[&str]| -> BTreeSet<String> { labels.iter().map(|&label| label.to_owned()).collect() };
    let target = own(&["job", "instance"]);
    let mut metrics = BTreeMap::from([("up".to_owned(), target.clone())]);
    let component = own(&["publisher", "kind", "name", "queue"]);
    let mut alert: BTreeSet<String> = own(&["alertname", "severity"]);
    alert.extend(target.iter().chain(&component).cloned());
    metrics.insert("ALERTS_FOR_STATE".into(), alert.clone());
    alert.insert("alertstate".into());
    metrics.insert("ALERTS".into(), alert);
    let mut of_section = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with("## ") {
            of_section.clear();
        } else if line.starts_with("Label") {
            // Values are told in brackets.
            let (before, rest) = line.split_once('(').unwrap_or((line, ""));
            let after = rest.split_once(')').map_or("", |(_, after)| after);
            let sentence = format!("{before}{after}");
            let sentence = sentence.split(['.', ':']).next().unwrap_or_default();
            of_section = ticked(sentence).map(str::to_owned).collect();
        } else if line.starts_with("| `") {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let name = cells[1].trim_matches('`').to_owned();
            let mut labels: BTreeSet<String> = &of_section | &target;
            labels.extend(cells[3].split(", ").filter(|label| !label.is_empty()).map(str::to_owned));
            if cells[2] == "histogram" {
                metrics.insert(format!("{name}_count"), labels.clone());
                metrics.insert(format!("{name}_sum"), labels.clone());
                labels.insert("le".into());
                metrics.insert(format!("{name}_bucket"), labels);
            } else {
                metrics.insert(name, labels);
            }
        }
    }
    metrics
}

// -------------------------------------------------------------------------------------------------- the tests

/// What the rules find, less what is excepted.
fn judge(board: &Board) -> Vec<(&'static str, String, String)> {
    let excepted = |rule: &str, place: &str| {
        EXCEPTIONS.iter().any(|(of, uid, panel, _)| *of == rule && *uid == board.uid() && *panel == place)
    };
    let all = RULES
        .iter()
        .flat_map(|(rule, check)| check(board).into_iter().map(move |(place, what)| (*rule, place, what)));
    all.filter(|(rule, place, _)| !excepted(rule, place)).collect()
}

#[test]
fn the_dashboards_follow_every_rule() {
    let uids: Vec<&str> = BOARDS.keys().map(String::as_str).collect();
    assert_eq!(uids, ["heartbeat-bridge", "heartbeat-fleet", "heartbeat-publisher"]);
    let mut complaints = String::new();
    for board in BOARDS.values() {
        for (rule, place, what) in judge(board) {
            complaints.push_str(&format!("{rule}: {}: {place}: {what}\n", board.uid()));
        }
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}

#[test]
fn every_exception_is_needed() {
    for (rule, uid, panel, why) in EXCEPTIONS {
        let (_, check) = RULES.iter().find(|(name, _)| *name == rule).unwrap();
        let findings = check(&BOARDS[uid]);
        assert!(findings.iter().any(|(place, _)| place == panel), "{rule} holds for {panel}: {why}");
    }
}

#[test]
fn the_page_on_the_metrics_was_read() {
    let documented = documented();
    assert!(documented.len() > 60, "{documented:?}");
    let of = |name: &str| documented[name].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(of("heartbeat_publisher_up"), ["instance", "job", "publisher"]);
    let labels = ["instance", "job", "kind", "name", "publisher", "queue", "reason"];
    assert_eq!(of("heartbeat_component_reason"), labels);
    assert_eq!(of("heartbeat_delivery_seconds_bucket"), ["hop", "instance", "job", "le"]);
}

/// Every alert of the rules is ours by its name, as the dashboards ask for it.
#[test]
fn alerts_have_the_name_that_is_asked_for() {
    let rules = fs::read_to_string(root().join("alerts/heartbeat.rules.yml")).unwrap();
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    assert!(alerts.into_iter().all(|alert| alert.starts_with("Heartbeat")));
}

/// A small dashboard that is right.
fn right() -> Value {
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    let variable = |name: &str, label: &str| {
        json!({
            "allValue": ".+", "datasource": source, "includeAll": true, "label": label, "multi": true,
            "name": name, "query": {"query": format!("label_values(heartbeat_subscriber_listening, {name})")},
            "refresh": 2, "type": "query",
        })
    };
    json!({
        "description": "A dashboard.",
        "editable": false,
        "id": null,
        "links": [{
            "asDropdown": true, "includeVars": true, "keepTime": true, "tags": ["heartbeat"],
            "type": "dashboards",
        }],
        "panels": [{
            "datasource": source,
            "description": "Shows what there is to see.",
            "fieldConfig": {
                "defaults": {
                    "links": [{"url": "/d/heartbeat-publisher?${datasource:queryparam}&var-job=a&\
                                       var-publisher=${__data.fields.publisher}&${__url_time_range}"}],
                    "mappings": [{"options": {"0": {"text": "down"}}, "type": "value"}],
                    "thresholds": {"steps": [{"color": "red", "value": null}]},
                    "unit": "none",
                },
                "overrides": [],
            },
            "gridPos": {"h": 8, "w": 24, "x": 0, "y": 0},
            "id": 1,
            "targets": [{
                "datasource": source,
                "expr": "max by (publisher) (rate(heartbeat_publisher_lost_total\
                         {job=~\"$job\", instance=~\"$instance\"}[$__rate_interval]))",
                "legendFormat": "{{publisher}}",
            }],
            "title": "Panel",
            "type": "timeseries",
        }],
        "refresh": "30s",
        "schemaVersion": SCHEMA_VERSION,
        "tags": ["heartbeat"],
        "templating": {"list": [
            {"label": "Data source", "name": "datasource", "query": "prometheus", "type": "datasource"},
            variable("job", "Job"),
            variable("instance", "Instance"),
        ]},
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "title": "Heartbeat / Right",
        "uid": "heartbeat-right",
    })
}

#[test]
fn what_is_right_passes() {
    assert_eq!(judge(&Board::of(&right())), []);
}

const PANEL: &str = "/panels/0";
const EXPR: &str = "/panels/0/targets/0/expr";

/// Replaces one value of what is right.
fn with(pointer: &str, value: &Value) -> Board {
    let mut json = right();
    match json.pointer_mut(pointer) {
        Some(place) => *place = value.clone(),
        None => {
            let (above, key) = pointer.rsplit_once('/').unwrap();
            json.pointer_mut(above).unwrap().as_object_mut().unwrap().insert(key.into(), value.clone());
        }
    }
    Board::of(&json)
}

/// Asks another query; `{}` is where the usual matchers go.
fn asking(query: &str) -> Board {
    with(EXPR, &json!(query.replace("{}", r#"{job=~"$job", instance=~"$instance"}"#)))
}

/// Has the panel twice, the second changed.
fn with_another(change: impl Fn(&mut Value)) -> Board {
    let mut json = right();
    let mut another = json.pointer(PANEL).unwrap().clone();
    another["id"] = json!(2);
    another["title"] = json!("Another panel");
    another["gridPos"]["y"] = json!(8);
    change(&mut another);
    json["panels"].as_array_mut().unwrap().push(another);
    Board::of(&json)
}

/// What breaks each rule.
fn broken() -> Vec<(&'static str, Board)> {
    let mut squeezed = Board::of(&right());
    squeezed.text = squeezed.json.to_string();
    let many = vec![right().pointer("/panels/0/targets/0").unwrap().clone(); QUERIES + 1];
    let green = json!([{"color": "#1A9E77", "value": null}]);
    let lost = r#"heartbeat_publisher_lost_total{job=~"$job", instance=~"$instance"}"#;
    vec![
        ("template-datasource-rule", with("/templating/list/0/query", &json!("loki"))),
        ("template-job-rule", with("/templating/list/1/allValue", &json!(".*"))),
        ("template-job-rule", with("/templating/list/1/multi", &json!(false))),
        ("template-instance-rule", with("/templating/list/2/label", &json!("instance"))),
        (
            "template-label-promql-rule",
            with("/templating/list/1/query/query", &json!("label_values(a{b=, job)")),
        ),
        ("template-on-time-change-reload-rule", with("/templating/list/2/refresh", &json!(1))),
        ("panel-datasource-rule", with("/panels/0/targets/0/datasource/type", &json!("loki"))),
        ("panel-datasource-rule", with("/panels/0/datasource/uid", &json!("abc"))),
        ("panel-title-description-rule", with("/panels/0/title", &json!(""))),
        ("panel-title-description-rule", with("/panels/0/description", &json!("Panel."))),
        ("panel-units-rule", with("/panels/0/fieldConfig/defaults/unit", &json!("seconds"))),
        (
            "panel-units-rule",
            with("/panels/0/fieldConfig/overrides", &json!([{"properties": [{"id": "unit", "value": "x"}]}])),
        ),
        ("panel-no-targets-rule", with("/panels/0/targets", &json!([]))),
        ("target-promql-rule", asking("max by (publisher) heartbeat_publisher_up{}")),
        (
            "target-rate-interval-rule",
            asking("max by (publisher) (rate(heartbeat_publisher_lost_total{}[5m]))"),
        ),
        (
            "target-rate-interval-rule",
            asking("max by (publisher) (rate(heartbeat_publisher_lost_total{}[$__range]))"),
        ),
        ("target-job-rule", asking(r#"max(heartbeat_publisher_up{job="$job", instance=~"$instance"})"#)),
        ("target-instance-rule", asking(r#"max(heartbeat_publisher_up{job=~"$job"})"#)),
        ("target-counter-agg-rule", with(EXPR, &json!(format!("max by (publisher) ({lost})")))),
        ("target-counter-agg-rule", asking("sum(heartbeat_delivery_seconds_bucket{})")),
        ("uneditable-dashboard", with("/editable", &json!(true))),
        ("identity", with("/uid", &json!("x7Gq"))),
        ("identity", with("/schemaVersion", &json!(16))),
        ("layout", squeezed),
        ("tag-link", with("/links/0/keepTime", &json!(false))),
        ("data-links", with("/panels/0/fieldConfig/defaults/links/0/url", &json!("/d/nowhere"))),
        (
            "data-links",
            with(
                "/panels/0/fieldConfig/defaults/links/0/url",
                &json!(
                    "/d/heartbeat-publisher?${datasource:queryparam}&var-job=a&\
                     var-publisher=${__data.fields.Publisher}&${__url_time_range}"
                ),
            ),
        ),
        ("variables-defined", with("/panels/0/title", &json!("Of ${publisher:text}"))),
        ("ids-unique", with_another(|panel| panel["id"] = json!(1))),
        ("titles-unique", with_another(|panel| panel["title"] = json!("Panel"))),
        ("grid", with_another(|panel| panel["gridPos"]["y"] = json!(7))),
        ("grid", with("/panels/0/gridPos/x", &json!(1))),
        ("panel-types", with("/panels/0/type", &json!("graph"))),
        ("words-with-colours", with("/panels/0/fieldConfig/defaults/mappings/0/options/0/text", &json!(""))),
        ("nothing-is-green-by-default", with("/panels/0/fieldConfig/defaults/thresholds/steps", &green)),
        (
            "nothing-is-green-by-default",
            with(
                "/panels/0/fieldConfig/defaults/mappings",
                &json!([{"options": {"result": {"color": "green", "text": "up"}}, "type": "special"}]),
            ),
        ),
        ("legends", with("/panels/0/targets/0/legendFormat", &json!("{{name}}"))),
        ("legends", with("/panels/0/targets/0/legendFormat", &json!("__auto"))),
        ("metrics-documented", asking("max by (publisher) (heartbeat_publisher_health{})")),
        ("labels-documented", asking("max by (publisher, host) (heartbeat_publisher_up{})")),
        (
            "labels-documented",
            asking(r#"max(heartbeat_publisher_up{job=~"$job", instance=~"$instance", name="a"})"#),
        ),
        ("replicas", asking("sum by (publisher) (heartbeat_publisher_sequence{})")),
        ("replicas", asking("max by (publisher) (heartbeat_component_up{})")),
        ("replicas", asking("min by (publisher) (heartbeat_publisher_up{})")),
        ("only-our-targets", asking("process_threads{}")),
        ("bounded-names", asking(r#"{__name__=~"heartbeat_.*", job=~"$job", instance=~"$instance"}"#)),
        ("queries-per-screen", with("/panels/0/targets", &json!(many))),
    ]
}

#[test]
fn every_rule_can_fail() {
    let broken = broken();
    for (rule, board) in &broken {
        let (_, check) = RULES.iter().find(|(name, _)| name == rule).unwrap();
        assert!(!check(board).is_empty(), "{rule} passes {}", board.text);
    }
    for (rule, _) in RULES {
        assert!(broken.iter().any(|(name, _)| name == rule), "nothing breaks {rule}");
    }
}
