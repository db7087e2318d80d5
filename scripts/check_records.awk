# Checks consumed records, one a line: partition, offset, key, value, with tabs between. The offsets of a partition must be
# 0, 1, 2 ..., and every key must be in one partition.
#   -v expected=N              so many records must have come
#   -v null=TEXT               is printed for a null key, which may be anywhere
#   -v skipped="P=N P=N ..."   up to N offsets of partition P are not records: each leader of a replicated topic begins with a
#                              note of its own
# Prints a line for each partition; fails if anything is wrong.
BEGIN {
  pairs = split(skipped, pair, " ")
  for (i = 1; i <= pairs; i++) { split(pair[i], part, "="); allowed[part[1]] = part[2] }
}
{
  missing[$1] += $2 - due[$1]
  if ($2 < due[$1] || missing[$1] > allowed[$1]) {
    print "partition " $1 ": offset " $2 " comes where " due[$1] + 0 " is due"
    wrong = 1
    exit
  }
  due[$1] = $2 + 1
  count[$1]++
}
null != "" && $3 == null { nulls[$1]++; next }
($3 in home) && home[$3] != $1 { print "key " $3 " is in partitions " home[$3] " and " $1; wrong = 1 }
{ home[$3] = $1 }
END {
  for (key in home) keys[home[key]]++
  for (p in count) if (p + 0 > last) last = p + 0
  for (p = 0; p <= last; p++) {
    printf "partition %d: %6d records of %4d keys", p, count[p], keys[p]
    printf null == "" ? "\n" : ", and %d without a key\n", nulls[p]
    records += count[p]
    without += nulls[p]
  }
  printf "sum:         %6d", records
  printf null == "" ? "\n" : "; %d without a key\n", without
  exit wrong || records != expected
}
