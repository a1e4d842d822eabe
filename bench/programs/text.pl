# Hashes, strings that grow, regular expressions, sorting, nested structures.
use strict;
use warnings;

my $scale = shift // 1;
my $state = 12345;

sub pick {
    my ($bound) = @_;
    $state = ($state * 1103515245 + 12345) % 2147483648;
    return int($state / 65536) % $bound;
}

sub words {
    my ($count) = @_;
    return join ' ', map { 'w' . pick(5000) . 'x' x pick(20) } 1 .. $count;
}

my (%seen, %index, @kept);
for my $line (1 .. int(25000 * $scale) + 1) {
    my $text = words(12);
    $seen{$_}++ for split / /, $text;
    (my $short = $text) =~ s/x+/-/g;
    push @{ $index{ length $short } }, { line => $line, text => $short, list => [1 .. pick(8)] };
    push @kept, $short if $short =~ /w(\d)\1/;
    shift @kept if @kept > 3000;
}
my @order = sort { $seen{$b} <=> $seen{$a} || $a cmp $b } keys %seen;
my $report = '';
$report .= "$_ $seen{$_}\n" for @order;
my $longest = (sort { $b <=> $a } keys %index)[0];
print length($report), ' ', scalar(@order), ' ', scalar(@kept), " $longest\n";
