//! Small systems of linear equations.

/// The solution of `a x = b`, by elimination with the largest pivots; none where the equations depend on
/// each other.
#[allow(clippy::needless_range_loop)]
pub(super) fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Option<Vec<f64>> {
    let n = b.len();
    for column in 0..n {
        let pivot = (column..n).max_by(|i, j| a[*i][column].abs().total_cmp(&a[*j][column].abs()))?;
        let scale = a.iter().map(|row| row[column].abs()).fold(0.0, f64::max);
        if a[pivot][column].abs() <= 1e-12 * scale || !a[pivot][column].is_finite() {
            return None;
        }
        a.swap(column, pivot);
        b.swap(column, pivot);
        for row in column + 1..n {
            let factor = a[row][column] / a[column][column];
            for k in column..n {
                a[row][k] -= factor * a[column][k];
            }
            b[row] -= factor * b[column];
        }
    }
    let mut x = vec![0.0; n];
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|k| a[row][k] * x[k]).sum();
        x[row] = (b[row] - known) / a[row][row];
    }
    x.iter().all(|value| value.is_finite()).then_some(x)
}

/// The least-squares solution of `rows x = y`; none where the columns depend on each other.
pub(super) fn least_squares<const N: usize>(rows: &[([f64; N], f64)]) -> Option<[f64; N]> {
    let mut normal = vec![vec![0.0; N]; N];
    let mut right = vec![0.0; N];
    for (row, y) in rows {
        for i in 0..N {
            for j in 0..N {
                normal[i][j] += row[i] * row[j];
            }
            right[i] += row[i] * y;
        }
    }
    solve(normal, right)?.try_into().ok()
}
