//! The report for people: Markdown, and a page with pictures.

use scenarios::report::{Axis, Block, Chart, Drawing, Mark, Picture, Reference, Report, Series, Table, Unit};
use sim_models::hardware::precision::Precision;

use super::{Compared, GpuReport, Operation, Sizes};

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

impl GpuReport {
    /// What is said first.
    fn lead(&self) -> String {
        let cut = if self.complete { "" } else { " The measurements were cut off." };
        format!(
            "{} measurements on {} that profile {} was not fitted to.{cut}",
            self.compared.len(),
            self.device,
            self.profile
        )
    }

    /// Errors by operation and precision, beside those of the datasheet.
    fn by_operation(&self) -> Table {
        let header = [
            "what",
            "precision",
            "number",
            "median",
            "p90",
            "worst",
            "datasheet median",
            "datasheet p90",
            "",
        ];
        let note = "size of predicted over measured, less one";
        let mut table = Table::new("Errors", note, 2, &header);
        for (operation, precision, sizes, passed) in self.verdicts() {
            let datasheet = self.sizes(operation, precision, true).unwrap_or(sizes);
            table.row([
                operation.name().to_owned(),
                precision.to_string(),
                sizes.count.to_string(),
                percent(sizes.median),
                percent(sizes.p90),
                percent(sizes.worst),
                percent(datasheet.median),
                percent(datasheet.p90),
                passed.map_or("", |passed| if passed { "pass" } else { "FAIL" }).to_owned(),
            ]);
        }
        table
    }

    /// Errors by how long something takes.
    fn by_regime(&self) -> Table {
        let mut table = Table::new(
            "Errors by duration",
            "",
            2,
            &["what", "duration", "number", "median", "p90", "worst"],
        );
        let regimes = ["under 10 us", "10 to 50 us", "50 to 200 us", "0.2 to 5 ms", "over 5 ms"];
        for operation in Operation::ALL {
            for regime in regimes {
                let own =
                    self.compared.iter().filter(|c| c.operation.is_of(operation) && c.regime() == regime);
                if let Some(Sizes { count, median, p90, worst }) = Sizes::of(own.map(Compared::error)) {
                    table.row([
                        operation.name().to_owned(),
                        regime.to_owned(),
                        count.to_string(),
                        percent(median),
                        percent(p90),
                        percent(worst),
                    ]);
                }
            }
        }
        table
    }

    /// The ten farthest off.
    fn worst(&self) -> Table {
        let mut all: Vec<&Compared> = self.compared.iter().collect();
        all.sort_by(|a, b| b.error().abs().total_cmp(&a.error().abs()));
        let mut table = Table::new("Farthest off", "", 1, &["what", "measured us", "predicted us", "error"]);
        for c in all.into_iter().take(10) {
            let (measured, predicted) = (format!("{:.1}", c.measured_us), format!("{:.1}", c.profile_us));
            table.row([c.what.clone(), measured, predicted, format!("{:+.1}%", 100.0 * c.error())]);
        }
        table
    }

    /// What other models than the profile say.
    fn beside(&self) -> Option<Table> {
        let header = ["what", "measured", "predicted", "error", "at most", ""];
        let mut table = Table::new("Other models", "with their defaults", 1, &header);
        for beside in &self.beside {
            table.row([
                beside.what.clone(),
                format!("{:.4}", beside.measured).trim_end_matches('0').trim_end_matches('.').to_owned(),
                format!("{:.4}", beside.predicted).trim_end_matches('0').trim_end_matches('.').to_owned(),
                format!("{:+.1}%", 100.0 * beside.error()),
                percent(beside.bound),
                if beside.passed() { "pass" } else { "FAIL" }.to_owned(),
            ]);
        }
        (!self.beside.is_empty()).then_some(table)
    }

    fn pictures(&self, passes: bool) -> [Option<Picture>; 2] {
        let whole = [Operation::DecodePass, Operation::PrefillPass, Operation::MixedPass, Operation::Stream];
        let own = Operation::ALL.into_iter().filter(|operation| whole.contains(operation) == passes);
        let series = |y: fn(&Compared) -> f64| -> Vec<Series> {
            own.clone()
                .map(|operation| {
                    let of = self.compared.iter().filter(|c| c.operation == operation);
                    let points = of.map(|c| (c.measured_us / 1e6, y(c))).collect();
                    Series { name: operation.name().to_owned(), points, mark: Mark::Points }
                })
                .collect()
        };
        let mut parity = series(|c| c.profile_us / 1e6);
        let shown = self.compared.iter().filter(|c| whole.contains(&c.operation) == passes);
        let ends = shown.map(|c| c.measured_us / 1e6);
        let (least, most) = ends.fold((f64::MAX, 0.0_f64), |(least, most), s| (least.min(s), most.max(s)));
        let equal = vec![(least, least), (most, most)];
        parity.push(Series { name: "equal".into(), points: equal, mark: Mark::Line });
        let name = if passes { "passes" } else { "kernels" };
        let measured = || Axis::log("measured", Unit::Seconds);
        let zero = Reference { name: "no error".into(), at: 0.0, vertical: false };
        [
            Picture::new(
                format!("parity-{name}"),
                format!("Predicted and measured: {name}"),
                "Each point is a measurement that the profile was not fitted to; on the line both are equal.",
                Drawing::Chart(Chart {
                    x: measured(),
                    y: Axis::log("predicted", Unit::Seconds),
                    series: parity,
                    references: vec![],
                }),
            ),
            Picture::new(
                format!("residuals-{name}"),
                format!("Errors by duration: {name}"),
                "Size of predicted over measured, less one.",
                Drawing::Chart(Chart {
                    x: measured(),
                    y: Axis::linear("error", Unit::Share),
                    series: series(|c| c.error().abs()),
                    references: vec![zero],
                }),
            ),
        ]
    }

    /// Tables for the terminal.
    pub fn tables(&self) -> impl Iterator<Item = Table> {
        let tables = [Some(self.by_operation()), Some(self.by_regime()), self.beside(), Some(self.worst())];
        tables.into_iter().flatten()
    }

    /// A page with tables and pictures.
    pub fn report(&self) -> Report {
        let verdict = |(operation, precision, sizes, passed): (Operation, Precision, Sizes, Option<bool>)| {
            let (median, p90) = operation.bounds()?;
            let text = format!(
                "{} in {precision}: median {} (at most {}), p90 {} (at most {})",
                operation.name(),
                percent(sizes.median),
                percent(median),
                percent(sizes.p90),
                percent(p90)
            );
            Some(Block::Verdict { pass: passed, text })
        };
        let mut blocks: Vec<Block> = self.verdicts().into_iter().filter_map(verdict).collect();
        let pictures = [false, true].into_iter().flat_map(|passes| self.pictures(passes));
        blocks.extend(pictures.flatten().map(Block::Picture));
        blocks.extend(self.tables().map(Block::Table));
        if !self.left_out.is_empty() {
            blocks.push(Block::Heading("Not predicted".into()));
            blocks.push(Block::Items(self.left_out.clone()));
        }
        Report {
            title: format!("Profile {} beside measurements", self.profile),
            lead: self.lead(),
            blocks,
            provenance: vec![
                ("device".into(), self.device.clone()),
                ("profile".into(), self.profile.clone()),
            ],
        }
    }

    /// The tables as Markdown.
    pub fn markdown(&self) -> String {
        let mut page = format!("# Profile {} beside measurements\n\n{}\n", self.profile, self.lead());
        page.extend(self.tables().map(|table| table.markdown()));
        if !self.left_out.is_empty() {
            page += "\n## Not predicted\n\n";
            page.extend(self.left_out.iter().map(|why| format!("- {why}\n")));
        }
        page
    }
}
