//! Least squares with coefficients that are not negative.

/// The coefficients, none below 0, with which some variables come nearest to what was measured. Variables that would get
/// a negative one are left out, the most negative first (an active set without a way back: with few variables, and none
/// that stands for another, it ends where the exact method does).
pub(super) fn not_negative<const N: usize>(points: &[([f64; N], f64)]) -> [f64; N] {
    let mut used: Vec<usize> =
        (0..N).filter(|variable| points.iter().any(|(x, _)| x[*variable] != 0.0)).collect();
    loop {
        let solved = solve(points, &used);
        let lowest = solved.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
        match lowest {
            Some((place, value)) if *value < 0.0 || !value.is_finite() => {
                used.remove(place);
            }
            _ => {
                let mut all = [0.0; N];
                used.iter().zip(solved).for_each(|(variable, value)| all[*variable] = value);
                return all;
            }
        }
    }
}

/// The normal equations of some variables, by elimination with pivots; a variable that says nothing new gets 0.
fn solve<const N: usize>(points: &[([f64; N], f64)], used: &[usize]) -> Vec<f64> {
    let size = used.len();
    let mut rows = vec![vec![0.0; size + 1]; size];
    for (x, y) in points {
        for (row, variable) in rows.iter_mut().zip(used) {
            for (cell, other) in row.iter_mut().zip(used) {
                *cell += x[*variable] * x[*other];
            }
            row[size] += x[*variable] * y;
        }
    }
    // Of like size, so that what is lost to rounding shows.
    let scale: Vec<f64> = (0..size).map(|i| rows[i][i].sqrt().max(f64::MIN_POSITIVE)).collect();
    for (i, row) in rows.iter_mut().enumerate() {
        for (j, cell) in row.iter_mut().enumerate() {
            *cell /= scale[i] * if j < size { scale[j] } else { 1.0 };
        }
    }
    for column in 0..size {
        let pivot = (column..size).max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()));
        rows.swap(column, pivot.unwrap_or(column));
        let lead = rows[column].clone();
        for row in rows.iter_mut().skip(column + 1) {
            if lead[column].abs() > 1e-9 {
                let share = row[column] / lead[column];
                row.iter_mut().zip(&lead).for_each(|(cell, lead)| *cell -= share * lead);
            }
        }
    }
    let mut solved = vec![0.0; size];
    for column in (0..size).rev() {
        let known: f64 = (column + 1..size).map(|j| rows[column][j] * solved[j]).sum();
        if rows[column][column].abs() > 1e-9 {
            solved[column] = (rows[column][size] - known) / rows[column][column];
        }
    }
    solved.iter().zip(scale).map(|(value, scale)| value / scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(of: [f64; 4]) -> Vec<([f64; 4], f64)> {
        (0..40)
            .map(|i| {
                let (a, b) = (f64::from(i % 7), f64::from(i % 5));
                let x = [1.0, a, b * 1000.0, a * b];
                (x, x.iter().zip(of).map(|(x, c)| x * c).sum())
            })
            .collect()
    }

    #[test]
    fn a_plane_is_found_again() {
        let found = not_negative(&points([3.0, 0.5, 2e-3, 0.25]));
        for (found, expected) in found.into_iter().zip([3.0, 0.5, 2e-3, 0.25]) {
            assert!((found / expected - 1.0).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn what_would_be_negative_is_left_out() {
        let found = not_negative(&points([3.0, -0.5, 2e-3, 0.0]));
        assert!(found.iter().all(|value| *value >= 0.0), "{found:?}");
        assert_eq!(found[1], 0.0);
    }

    #[test]
    fn a_variable_that_is_another_gets_no_nonsense() {
        let twice: Vec<_> = (1..20).map(|i| ([1.0, 1.0, f64::from(i), 0.0], f64::from(2 * i + 4))).collect();
        let found = not_negative(&twice);
        let at = |x: [f64; 4]| found.iter().zip(x).map(|(c, x)| c * x).sum::<f64>();
        assert!((at([1.0, 1.0, 10.0, 0.0]) - 24.0).abs() < 1e-6, "{found:?}");
    }
}
