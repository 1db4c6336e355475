//! How something grows, as a picture: both axes logarithmic, so that "ten times as much costs ten times as much" is a
//! straight line at one slope.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::table::number;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
/// Room for the labels: left, right, top, bottom.
const MARGIN: (f64, f64, f64, f64) = (80.0, 190.0, 44.0, 56.0);
/// Told apart also by those who see few colours.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// A picture.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Curve {
    /// Its heading.
    pub title: String,
    /// What goes to the right.
    pub across: String,
    /// What goes up.
    pub up: String,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One line.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Line {
    /// What it shows.
    pub name: String,
    /// Its points, from left to right, each above zero.
    pub points: Vec<(f64, f64)>,
}

/// One axis: whole powers of ten, and where they are on the picture.
struct Axis {
    decades: (f64, f64),
    pixels: (f64, f64),
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, pixels: (f64, f64)) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min).log10().floor();
        let high = values.fold(f64::NEG_INFINITY, f64::max).log10().ceil();
        Self { decades: (low, high.max(low + 1.0)), pixels }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.log10() - self.decades.0) / (self.decades.1 - self.decades.0);
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        let (mut decade, high) = self.decades;
        std::iter::from_fn(move || {
            let tick = (decade <= high).then(|| 10f64.powf(decade));
            decade += 1.0;
            tick
        })
    }
}

impl Curve {
    /// The name of its file.
    pub fn file(&self, figure: &str) -> String {
        let words = self.title.to_lowercase();
        let words = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        format!("{figure}-{}.svg", words.collect::<Vec<_>>().join("-"))
    }

    /// The picture.
    pub fn svg(&self) -> String {
        let (left, right, top, bottom) = MARGIN;
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let across = Axis::over(points().map(|point| point.0), (left, WIDTH - right));
        let up = Axis::over(points().map(|point| point.1), (HEIGHT - bottom, top));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
             <text x=\"{left}\" y=\"24\" font-size=\"16\">{}</text>\n",
            escaped(&self.title)
        );
        for tick in across.ticks() {
            let (x, end) = (across.at(tick), HEIGHT - bottom);
            writeln!(
                svg,
                "<path d=\"M{x:.1} {top}V{end}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{}</text>",
                end + 18.0,
                number(tick)
            )
            .unwrap();
        }
        for tick in up.ticks() {
            let (y, end) = (up.at(tick), WIDTH - right);
            writeln!(
                svg,
                "<path d=\"M{left} {y:.1}H{end}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                left - 6.0,
                y + 4.0,
                number(tick)
            )
            .unwrap();
        }
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(18 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(left, WIDTH - right),
            HEIGHT - 12.0,
            escaped(&self.across),
            f64::midpoint(top, HEIGHT - bottom),
            escaped(&self.up)
        )
        .unwrap();
        for (index, line) in self.lines.iter().enumerate() {
            svg.push_str(&drawn(index, line, &across, &up));
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// A line with its dots, and its name on the right.
fn drawn(index: usize, line: &Line, across: &Axis, up: &Axis) -> String {
    let colour = COLOURS[index % COLOURS.len()];
    let places: Vec<(f64, f64)> = line.points.iter().map(|(x, y)| (across.at(*x), up.at(*y))).collect();
    let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    let mut svg = format!(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n",
        path.join(" ")
    );
    for (x, y) in &places {
        writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>").unwrap();
    }
    let y = MARGIN.2 + 16.0 + 20.0 * index as f64;
    writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{}</text>",
        WIDTH - MARGIN.1 + 12.0,
        escaped(&line.name)
    )
    .unwrap();
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
