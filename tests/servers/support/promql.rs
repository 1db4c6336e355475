//! What a query asks for: metrics, and labels of them.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};

/// Metrics that a query selects, each with the labels that it matches, and the labels that it groups and joins by.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// By the name of the metric.
    pub metrics: BTreeMap<String, BTreeSet<String>>,
    /// Labels of some of them.
    pub labels: BTreeSet<String>,
    /// Labels that it makes itself.
    pub made: BTreeSet<String>,
}

impl Asked {
    /// Reads a query, whose variables must be filled in.
    pub fn of(query: &str) -> Result<Self, String> {
        let mut asked = Self::default();
        asked.walk(&parser::parse(query).map_err(|error| format!("{query}: {error}"))?);
        Ok(asked)
    }

    fn walk(&mut self, expr: &Expr) {
        match expr {
            Expr::Aggregate(aggregate) => {
                self.walk(&aggregate.expr);
                aggregate.param.iter().for_each(|param| self.walk(param));
                self.group(aggregate.modifier.as_ref());
            }
            Expr::Binary(binary) => {
                self.walk(&binary.lhs);
                self.walk(&binary.rhs);
                self.group(binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref()));
            }
            Expr::Unary(unary) => self.walk(&unary.expr),
            Expr::Paren(paren) => self.walk(&paren.expr),
            Expr::Subquery(subquery) => self.walk(&subquery.expr),
            Expr::Call(call) => {
                call.args.args.iter().for_each(|argument| self.walk(argument));
                if let ("label_replace", Some(Expr::StringLiteral(label))) =
                    (call.func.name, call.args.args.get(1).map(AsRef::as_ref))
                {
                    self.made.insert(label.val.clone());
                }
            }
            Expr::VectorSelector(selector) => self.select(selector),
            Expr::MatrixSelector(matrix) => self.select(&matrix.vs),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        }
    }

    fn group(&mut self, modifier: Option<&LabelModifier>) {
        if let Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)) = modifier {
            self.labels.extend(labels.labels.iter().cloned());
        }
    }

    fn select(&mut self, selector: &VectorSelector) {
        let matchers = &selector.matchers.matchers;
        let names = match &selector.name {
            Some(name) => vec![name.clone()],
            None => {
                let named = matchers.iter().find(|matcher| matcher.name == NAME);
                let named = named.unwrap_or_else(|| panic!("it asks for everything: {selector}"));
                alternatives(&named.value)
            }
        };
        for name in names {
            let labels = matchers.iter().map(|matcher| matcher.name.clone()).filter(|label| label != NAME);
            self.metrics.entry(name).or_default().extend(labels);
        }
    }
}

/// The label that holds the metric's name.
const NAME: &str = "__name__";

/// What a pattern such as `a_(b|c)` stands for.
fn alternatives(pattern: &str) -> Vec<String> {
    let (prefix, rest) = pattern.split_once('(').unwrap_or((pattern, ""));
    let (inner, suffix) = rest.rsplit_once(')').unwrap_or((rest, ""));
    inner.split('|').map(|part| format!("{prefix}{part}{suffix}")).collect()
}

#[test]
fn names_and_labels_are_found_everywhere() {
    let query = "sum by (a) (rate(m_total{b=~\"x\"}[5m])) / on (a) group_left (c) \
                 topk(3, -(n{d!=\"y\"} offset 1m)) or max_over_time(o[1h:1m]) > bool 2";
    let asked = Asked::of(query).unwrap();
    let metrics: Vec<&str> = asked.metrics.keys().map(String::as_str).collect();
    assert_eq!(metrics, ["m_total", "n", "o"]);
    assert_eq!(asked.metrics["m_total"], BTreeSet::from(["b".to_owned()]));
    assert_eq!(asked.labels, BTreeSet::from(["a".to_owned()]));
    let asked = Asked::of("{__name__=~\"a_(b|c)_d\", e=\"\"}").unwrap();
    let label = BTreeSet::from(["e".to_owned()]);
    let names = ["a_b_d", "a_c_d"].map(|name| (name.to_owned(), label.clone()));
    assert_eq!(asked.metrics, BTreeMap::from(names));
    let made = Asked::of("label_replace(m, \"drill\", \"true\", \"a\", \"b.*\")").unwrap().made;
    assert_eq!(made, BTreeSet::from(["drill".to_owned()]));
    assert!(Asked::of("sum(").is_err());
}
