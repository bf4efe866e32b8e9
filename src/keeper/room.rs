//! How much text there is room for: what goes when all panes together have too much.

/// Returns how many bytes each pane may keep, so that all of them together keep at most `total`: those that
/// have more than this lose their oldest text, the others lose nothing.
pub(super) fn share(sizes: &[u64], total: u64) -> u64 {
    let mut sorted = sizes.to_vec();
    sorted.sort_unstable();
    let mut left = total;
    for (at, size) in sorted.iter().enumerate() {
        let each = left / (sorted.len() - at) as u64;
        if *size > each {
            return each;
        }
        left -= size;
    }
    u64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_biggest_give_first() {
        let cases: [(&[u64], u64, u64); 6] = [
            (&[], 10, u64::MAX),
            (&[4, 6], 10, u64::MAX),
            (&[4, 7], 10, 6),
            (&[1, 1, 100], 10, 8),
            (&[1, 50, 100], 11, 5),
            (&[5], 0, 0),
        ];
        for (sizes, total, expected) in cases {
            assert_eq!(share(sizes, total), expected, "{sizes:?}");
        }
    }

    proptest! {
        #[test]
        fn the_total_is_kept_and_used(sizes in proptest::collection::vec(0u64..1000, 0..20), total in 0u64..5000) {
            let share = share(&sizes, total);
            let kept: u64 = sizes.iter().map(|size| (*size).min(share)).sum();
            prop_assert!(kept <= total);
            if share < u64::MAX {
                prop_assert!(kept + sizes.len() as u64 > total, "{kept} of {total}");
            }
        }
    }
}
