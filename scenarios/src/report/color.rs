//! The colours of plots: those of Okabe and Ito, which colour-blind readers tell apart, and four roles. In SVG each
//! is told by its value, so that a style sheet can give it another one in the dark.

use std::fmt::Write as _;

use plotters::style::RGBColor;

/// A colour, and what it becomes on a dark ground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Color {
    /// Its red, green and blue byte on a light ground.
    pub light: u32,
    /// The same on a dark one.
    pub dark: u32,
}

const fn color(light: u32, dark: u32) -> Color {
    Color { light, dark }
}

/// Text and strong lines.
pub const INK: Color = color(0x1B1F24, 0xE6EDF3);
/// Secondary text and axes.
pub const MUTED: Color = color(0x57606A, 0xA5AFBA);
/// Lines behind the data.
pub const GRID: Color = color(0xDDE2E8, 0x343B43);
/// The ground.
pub const PAPER: Color = color(0xFEFEFE, 0x12161B);
/// A quiet ground behind parts of a plot.
pub const SHADE: Color = color(0xF0F3F6, 0x1E242B);

/// What holds.
pub const GOOD: Color = color(0x0072B2, 0x5DB3E8);
/// What does not.
pub const BAD: Color = color(0xD55E00, 0xFF8A3D);

/// For things that are told apart (Okabe and Ito, Color Universal Design, 2008; without its yellow, which is too
/// light on white).
pub const SERIES: [Color; 7] = [
    GOOD,
    BAD,
    color(0x009E73, 0x2FC79A),
    color(0xCC79A7, 0xE39CC5),
    color(0xE69F00, 0xF2B53A),
    color(0x56B4E9, 0x9AD4F7),
    color(0x4D4D4D, 0xC4CAD1),
];

/// The outline of small bars.
pub const OUTLINE: Color = color(0x8B949E, 0x6E7781);
/// From idle to full (ColorBrewer's YlOrBr, by five).
pub const HEAT: [Color; 5] = [
    color(0xFFE9A8, 0x5A4A1E),
    color(0xFED98E, 0x7C5A1B),
    color(0xFE9929, 0xB8690F),
    color(0xD95F0E, 0xE0731F),
    color(0x993404, 0xFF9B57),
];

impl Color {
    pub(super) fn rgb(self) -> RGBColor {
        let [_, red, green, blue] = self.light.to_be_bytes();
        RGBColor(red, green, blue)
    }
}

fn all() -> impl Iterator<Item = Color> {
    [INK, MUTED, GRID, PAPER, SHADE, OUTLINE].into_iter().chain(SERIES).chain(HEAT)
}

/// The style sheet of plots: what colours become in the dark.
pub(super) fn dark_sheet() -> String {
    let mut sheet = String::new();
    for Color { light, dark } in all() {
        let _ = write!(
            sheet,
            "svg.plot [fill=\"#{light:06X}\"]{{fill:#{dark:06X}}}svg.plot [stroke=\"#{light:06X}\"]{{stroke:#{dark:06X}}}"
        );
    }
    sheet
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn colours_are_told_apart_by_their_values() {
        let light: BTreeSet<u32> = all().map(|color| color.light).collect();
        assert_eq!(light.len(), all().count());
    }

    /// Relative luminance (WCAG 2.1).
    fn luminance(rgb: u32) -> f64 {
        let [_, red, green, blue] = rgb.to_be_bytes().map(|byte| {
            let share = f64::from(byte) / 255.0;
            if share <= 0.040_45 { share / 12.92 } else { libm::pow((share + 0.055) / 1.055, 2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    fn contrast(one: u32, other: u32) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn text_is_legible_and_lines_are_seen_on_both_grounds() {
        for (ink, least) in [(INK, 7.0), (MUTED, 4.5)] {
            for ground in [PAPER, SHADE] {
                assert!(contrast(ink.light, ground.light) > least, "{ink:?} on {ground:?}");
                assert!(contrast(ink.dark, ground.dark) > least, "{ink:?} on {ground:?}");
            }
        }
        for line in SERIES {
            assert!(contrast(line.light, PAPER.light) > 2.0, "{line:?}");
            assert!(contrast(line.dark, PAPER.dark) > 2.0, "{line:?}");
        }
    }
}
