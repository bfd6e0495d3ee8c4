/* The program that fork + exec runs: statically linked with the C library, it ends at once. */
int main(void)
{
    return 0;
}
