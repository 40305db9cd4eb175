/*
 * Touches so many bytes of fresh memory once and ends. On a virtual machine the host gives memory at its first touch, which costs far
 * more than any later one; a benchmark that is to measure the program and not the host lets this go before it.
 *     build/bench/touch BYTES
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

int main(int argc, char **argv)
{
  const size_t bytes = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
  if (bytes == 0) {
    fprintf(stderr, "usage: touch BYTES\n");
    return 64;
  }
  if (mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) == MAP_FAILED) {
    perror("touch");
    return 71;
  }
  return 0;
}
