/* What forks executes: a program that is over at once. */
int main(void)
{
    return 0;
}
